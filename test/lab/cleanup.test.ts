import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { cgroup2Mounts, cgroup2Root } from './cgroups.ts'
import { Lab } from './lab.ts'
import { findLeftovers, isOwnerAlive } from './leftovers.ts'

const OWNER = fileURLToPath(new URL('programs/lab-owner.ts', import.meta.url))

/** A process that opens a lab and starts a program in it; resolves with the lab's prefix. */
async function owner(t: ExecutionContext, mode: 'wait' | 'throw' | 'exit' | 'own-handler') {
  const child = spawn(process.execPath, [OWNER, mode], { stdio: ['ignore', 'pipe', 'ignore'] })
  // Also when an assertion fails: a living child would keep this process alive.
  t.teardown(() => void child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string]
  return { child, ended, prefix: line.trim() }
}

test('what a killed owner left is removed by the next lab', async (t) => {
  const { child, ended, prefix } = await owner(t, 'wait')
  const kinds = new Set(findLeftovers(prefix).map(({ kind }) => kind))
  t.deepEqual([...kinds].sort(), ['cgroup', 'directory', 'namespace', 'process'])
  t.true(isOwnerAlive(prefix))
  {
    await using _ = await Lab.open()
    t.true(findLeftovers(prefix).length > 0, 'a living owner is left alone')
  }
  child.kill('SIGKILL')
  await ended
  t.false(isOwnerAlive(prefix))
  await using _ = await Lab.open()
  t.deepEqual(findLeftovers(prefix), [])
})

for (const [how, mode, signal] of [
  ['SIGINT', 'wait', 'SIGINT'],
  ['SIGTERM', 'wait', 'SIGTERM'],
  ['an uncaught exception', 'throw', undefined],
  ['process.exit', 'exit', undefined],
  ['a handler of its own', 'own-handler', 'SIGINT'],
] as const) {
  test(`an owner that ends by ${how} cleans up itself`, async (t) => {
    const { child, ended, prefix } = await owner(t, mode)
    t.regex(prefix, /^wl/)
    if (signal !== undefined) child.kill(signal)
    await ended
    t.deepEqual(findLeftovers(prefix), [])
  })
}

test('a lab that is closed leaves nothing', async (t) => {
  const lab = await Lab.open()
  const node = await lab.node('one')
  const pod = await node.pod('a')
  await pod.run(['sleep', 'infinity'], { container: 'main' })
  await pod.run(['sleep', 'infinity'], { outsideCgroup: true })
  await node.run(['unshare', '--net', 'sleep', 'infinity'])
  await lab.close()
  t.deepEqual(findLeftovers(lab.prefix), [])
  t.is(process.listenerCount('SIGHUP'), 0)
})

test('a lab may have cgroup v2 at a place of its own', async (t) => {
  const lab = await Lab.open({ cgroupRoot: 'mount' })
  const pod = await (await lab.node('one')).pod('a')
  t.true(cgroup2Mounts().some((point) => pod.cgroup.startsWith(point) && point !== cgroup2Root()))
  t.true(existsSync(join(cgroup2Root(), lab.prefix)), 'one hierarchy, seen at two places')
  await lab.close()
  t.deepEqual(findLeftovers(lab.prefix), [])
})

test('two labs of one process do not disturb each other', async (t) => {
  await using first = await Lab.open()
  const second = await Lab.open()
  t.not(first.prefix, second.prefix)
  await (await second.node('one')).pod('a')
  await second.close()
  const pod = await (await first.node('one')).pod('a')
  await t.notThrowsAsync(pod.exec(['true']))
})
