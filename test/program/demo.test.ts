// What `npm start` runs, from outside: it proves its own claims, and leaves nothing behind.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { findLeftovers } from '../lab/leftovers.ts'
import { waitUntil } from '../lab/wait.ts'

const DEMO = fileURLToPath(new URL('../../demo/main.ts', import.meta.url))
const EDGES = [
  'shopper -> web',
  'web -> catalog',
  'web -> cart',
  'catalog -> stock',
  'cart -> stock',
]

function start(t: ExecutionContext, args: readonly string[]) {
  const child = spawn(process.execPath, [DEMO, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => void child.kill('SIGKILL'))
  const said: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => said.push(text))
  }
  return { child, ended: once(child, 'exit'), said: () => said.join('') }
}

/** Things of any lab whose owner was this process. */
const leftBy = (pid: number | undefined) =>
  findLeftovers().filter(({ prefix }) => prefix.startsWith(`wl${pid?.toString(36)}-`))

test('the demo carries every edge, shows no byte, and cleans up when interrupted', async (t) => {
  const { child, ended, said } = start(t, [])
  const isOpen = () => said().includes('Ctrl-C') || child.exitCode !== null
  await waitUntil(isOpen, `the demo: ${said()}`, { timeoutMs: 120_000 })
  t.regex(said(), /all is well/)
  for (const edge of EDGES) t.true(said().includes(edge), edge)
  t.true(leftBy(child.pid).length > 0)
  child.kill('SIGINT')
  t.deepEqual(await ended, [0, null], said())
  t.deepEqual(leftBy(child.pid), [])
})
