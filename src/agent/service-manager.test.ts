import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test, { type ExecutionContext } from 'ava'
import { notifyReceiver } from '../../test/lab/programs.ts'
import { memoryLog } from '../base/log.ts'
import { serviceManager, silentManager, tellingManager } from './service-manager.ts'

async function receiver(t: ExecutionContext, address: string) {
  const [file = '', ...args] = notifyReceiver(address)
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const next = async (): Promise<string> => String((await lines.next()).value)
  t.is(await next(), 'bound')
  return {
    /** The next message; how `systemd-notify` waits for its delivery is between those two. */
    message: async (): Promise<string> => {
      for (;;) {
        const text = await next()
        if (text !== 'BARRIER=1') return text
      }
    },
  }
}

const scratch = mkdtempSync(join(tmpdir(), 'weft-notify-'))
test.after.always(() => rmSync(scratch, { recursive: true, force: true }))

// systemd-notify is where systemd is; without it the agent says so, which is tested below.
const hasCommand = (() => {
  try {
    execFileSync('systemd-notify', ['--version'])
    return true
  } catch {
    return false
  }
})()

for (const [what, address] of [
  ['a path', join(scratch, 'notify')],
  ['an abstract address', `@weft-notify-${process.pid}`],
] as const) {
  test(`tells a real datagram socket at ${what} how the agent is`, async (t) => {
    const log = memoryLog()
    const manager = serviceManager(log, { NOTIFY_SOCKET: address })
    if (!hasCommand) {
      await manager.ready()
      t.is(log.entries.length, 1)
      return
    }
    const { message } = await receiver(t, address)
    await manager.status('2 workloads')
    await manager.ready()
    await manager.reloading()
    await manager.stopping()
    t.is(await message(), 'STATUS=2 workloads')
    t.is(await message(), 'READY=1')
    t.is(await message(), 'RELOADING=1')
    t.is(await message(), 'STOPPING=1|STATUS=stopping')
    t.deepEqual(log.entries, [])
  })
}

test('nobody is told where no service manager is', (t) => {
  t.is(serviceManager(memoryLog(), {}), silentManager)
  t.is(serviceManager(memoryLog(), { NOTIFY_SOCKET: '' }), silentManager)
})

test('of lines that come fast the last is told, and none twice', async (t) => {
  const told: string[] = []
  const release: (() => void)[] = []
  const notify = (assignments: readonly string[]) => {
    told.push(assignments.join(' '))
    return new Promise<void>((resolve) => release.push(resolve))
  }
  const manager = tellingManager({ log: memoryLog(), notify })
  const first = manager.ready()
  const lines = ['one', 'two', 'thr\nee'].map((line) => manager.status(line))
  await Promise.resolve()
  release.shift()?.()
  await first
  while (release.length === 0) await Promise.resolve()
  release.shift()?.()
  await Promise.all(lines)
  t.deepEqual(told, ['READY=1', 'STATUS=thr ee'])
})

test('a service manager that does not listen is said once and harms nothing', async (t) => {
  const log = memoryLog()
  const notify = () => Promise.reject(new Error('connection refused'))
  const manager = tellingManager({ log, notify })
  await manager.ready()
  await manager.stopping()
  t.deepEqual(
    log.entries.map(({ event }) => event),
    ['service-manager.untold'],
  )
})
