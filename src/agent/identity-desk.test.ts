import test from 'ava'
import { silentLog } from '../base/log.ts'
import type { IdentityMaterial, ToWorker } from '../model/messages.ts'
import { IdentityDesk } from './identity-desk.ts'
import type { WorkerPool } from './worker-pool.ts'

const ID = 'spiffe://t/ns/a/sa/b'

function material(serial: number): IdentityMaterial {
  const keyPem = new TextEncoder().encode('key').buffer as ArrayBuffer
  return { id: ID, certificateChainPem: 'c', keyPem, rootsPem: [], notAfterMs: 1, serial }
}

function desk() {
  const wants: string[] = []
  const given: [number, number][] = []
  const told: [number, ToWorker][] = []
  // Only what the desk uses of the pool; the real one needs threads.
  const pool = {
    alive: () => [0, 1],
    giveIdentity: async (worker: number, each: IdentityMaterial) => {
      given.push([worker, each.serial])
    },
    tell: (worker: number, message: ToWorker) => told.push([worker, message]),
  } as unknown as WorkerPool
  const made = new IdentityDesk({
    log: silentLog,
    pool: () => pool,
    wants: { want: (id) => wants.push(`+${id}`), forget: (id) => wants.push(`-${id}`) },
  })
  return { made, wants, given, told }
}

test('a wanted identity is there once every worker holds it', async (t) => {
  const { made, wants, given } = desk()
  const wanted = made.want(ID)
  t.deepEqual(wants, [`+${ID}`])
  await made.receive(material(1))
  await wanted
  t.deepEqual(given, [
    [0, 1],
    [1, 1],
  ])
})

test('a second workload of the same identity shares it, and the last one takes it away', async (t) => {
  const { made, told } = desk()
  const first = made.want(ID)
  await made.receive(material(1))
  await first
  await made.want(ID)
  made.forget(ID)
  t.deepEqual(told, [])
  made.forget(ID)
  t.deepEqual(
    told.map(([worker, message]) => [worker, message.kind]),
    [
      [0, 'forget-identity'],
      [1, 'forget-identity'],
    ],
  )
})

test('a replacement worker is given what is current, and nothing that was forgotten', async (t) => {
  const { made, given } = desk()
  const wanted = made.want(ID)
  await made.receive(material(1))
  await wanted
  await made.receive(material(2))
  given.length = 0
  await made.giveAll(1)
  t.deepEqual(given, [[1, 2]])
  made.forget(ID)
  await made.receive(material(3))
  given.length = 0
  await made.giveAll(1)
  t.deepEqual(given, [])
})

test('keeps a key of its own, apart from what the keeper zeroes', async (t) => {
  const keys: string[] = []
  const pool = {
    alive: () => [0],
    giveIdentity: async (_: number, each: IdentityMaterial) => {
      keys.push(new TextDecoder().decode(each.keyPem))
    },
  } as unknown as WorkerPool
  const wants = { want: () => {}, forget: () => {} }
  const made = new IdentityDesk({ log: silentLog, pool: () => pool, wants })
  const wanted = made.want(ID)
  const fresh = material(1)
  await made.receive(fresh)
  await wanted
  new Uint8Array(fresh.keyPem).fill(0)
  await made.giveAll(0)
  t.deepEqual(keys, ['key', 'key'])
})
