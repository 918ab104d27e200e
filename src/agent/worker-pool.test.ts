import test from 'ava'
import { memoryLog } from '../base/log.ts'
import { localPod } from '../model/testing/local-pod.ts'
import type { WorkerData } from './worker.ts'
import { WorkerPool } from './worker-pool.ts'

const FILE = new URL('testing/small-worker.ts', import.meta.url)
const POD = localPod({ uid: 'pod' })
const DIE = { kind: 'unlisten', uid: 'pod', reason: 'draining' } as const

const data = (count: number): WorkerData[] =>
  Array.from({ length: count }, (_, worker) => ({
    worker,
    workers: count,
    nodeName: 'one',
    accessLog: 'off',
    heapMaxMb: 64,
    maps: { origins: 0, asked: 0, hostPorts: 0 },
    cells: new SharedArrayBuffer(8),
  }))

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}

test('asks all that serve, and waits for every answer', async (t) => {
  const log = memoryLog()
  const nothing = async (): Promise<void> => {}
  const pool = new WorkerPool({ log, onDeath: nothing, onReplaced: nothing }, data(2), FILE)
  await pool.start()
  t.deepEqual(pool.alive(), [0, 1])
  // Two askers of the same thing are both answered.
  await Promise.all([
    pool.askAll({ kind: 'recheck', sequence: 1 }, 'rechecked 1'),
    pool.askAll({ kind: 'recheck', sequence: 1 }, 'rechecked 1'),
  ])
  await pool.stop()
  t.deepEqual(log.entries, [])
})

test('two workers that die together are both replaced', async (t) => {
  const log = memoryLog()
  const deaths: number[] = []
  const pool: WorkerPool = new WorkerPool(
    {
      log,
      onDeath: async (worker) => {
        deaths.push(worker)
        const [heir] = pool.alive()
        if (heir === undefined) return
        const message = { kind: 'drain-backlog', pod: POD, listeners: [] } as const
        await pool.ask(heir, message, 'backlog-drained pod')
      },
      onReplaced: async (_worker, serving) => serving(),
    },
    data(3),
    FILE,
  )
  await pool.start()
  // Whoever waits for a worker that dies is not left waiting.
  await Promise.all([pool.ask(0, DIE, 'unlistened pod'), pool.ask(1, DIE, 'unlistened pod')])
  await until(() => pool.alive().length === 3)
  t.deepEqual(deaths.sort(), [0, 1])
  t.is(log.entries.filter(({ event }) => event === 'worker.replaced').length, 2)
  await pool.stop()
})

test('a replacement that cannot be told everything is ended, and another one tried', async (t) => {
  const log = memoryLog()
  let attempts = 0
  const pool = new WorkerPool(
    {
      log,
      onDeath: async () => {},
      onReplaced: async (_worker, serving) => {
        if (++attempts === 1) throw new Error('no room')
        serving()
      },
    },
    data(2),
    FILE,
  )
  await pool.start()
  await pool.ask(1, DIE, 'unlistened pod')
  t.deepEqual(pool.alive(), [0])
  await until(() => pool.alive().length === 2)
  t.is(attempts, 2)
  t.true(log.entries.some(({ event }) => event === 'worker.replace-failed'))
  await pool.stop()
})

test('a death that cannot be handled is told, and the worker replaced all the same', async (t) => {
  const log = memoryLog()
  const pool = new WorkerPool(
    {
      log,
      onDeath: async () => {
        throw new Error('kernel gone')
      },
      onReplaced: async (_worker, serving) => serving(),
    },
    data(1),
    FILE,
  )
  await pool.start()
  await pool.ask(0, DIE, 'unlistened pod')
  await until(() => pool.alive().length === 1)
  t.true(log.entries.some(({ event }) => event === 'worker.death-unhandled'))
  await pool.stop()
})
