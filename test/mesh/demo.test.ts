// What `npm start` runs, as a stranger runs it: to its end, and until Ctrl-C. It uses `weft up` and
// `weft run` as they are, so this is their test as well.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { findLeftovers } from '../lab/leftovers.ts'
import { waitUntil } from '../lab/wait.ts'

const DEMO = fileURLToPath(new URL('../../demo/main.ts', import.meta.url))

interface Demo {
  readonly pid: number
  said(): string
  readonly ended: Promise<number | null>
}

function start(args: readonly string[]): Demo {
  // A group of its own, as a terminal would make.
  const child = spawn(process.execPath, [DEMO, ...args], { detached: true })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
  }
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  return { pid: child.pid ?? -1, said: () => text, ended }
}

/** Leftovers that carry the number of the demo's process. */
const leftBehind = (demo: Demo) =>
  findLeftovers().filter(({ prefix }) => prefix.startsWith(`wl${demo.pid.toString(36)}-`))

test.serial(
  'shows every edge with its identities, proves the wire unreadable, and ends',
  async (t) => {
    const demo = start(['--once'])
    t.is(await demo.ended, 0, demo.said())
    const said = demo.said()
    for (const edge of ['shopper -> web', 'web -> catalog', 'web -> cart', 'cart -> stock']) {
      t.regex(said, new RegExp(`${edge} +tunnel +spiffe://shop.example/ns/shop/sa/`), edge)
    }
    t.regex(said, /catalog -> stock +direct +spiffe:\S+catalog +spiffe:\S+stock +\d+ +0 /)
    t.regex(said, /not one byte of a request or answer is readable/)
    t.deepEqual(leftBehind(demo), [])
  },
)

test.serial('stays open until Ctrl-C, and leaves nothing behind', async (t) => {
  const demo = start([])
  await waitUntil(() => demo.said().includes('stays open'), `the open shop: ${demo.said()}`, {
    timeoutMs: 90_000,
  })
  process.kill(-demo.pid, 'SIGINT')
  t.is(await demo.ended, 0, demo.said())
  t.deepEqual(leftBehind(demo), [])
})
