import test from 'ava'
import { silentLog } from '../base/log.ts'
import type { IdentityMaterial, ToWorker } from '../model/messages.ts'
import { IdentityDesk } from './identity-desk.ts'
import type { WorkerPool } from './worker-pool.ts'

const ID = 'spiffe://t/ns/a/sa/b'

function material(serial: number): IdentityMaterial {
  const keyPem = new TextEncoder().encode('key').buffer as ArrayBuffer
  return { id: ID, certificateChainPem: 'c', keyPem, rootsPem: ['old'], notAfterMs: 1, serial }
}

function desk() {
  const wants: string[] = []
  const given: { worker: number; serial: number; key: string; roots: string }[] = []
  const told: [number, ToWorker][] = []
  let ready = 0
  // Only what the desk uses of the pool; the real one needs threads.
  const pool = {
    alive: () => [0, 1],
    giveIdentity: async (worker: number, each: IdentityMaterial) => {
      const key = new TextDecoder().decode(each.keyPem)
      given.push({ worker, serial: each.serial, key, roots: each.rootsPem.join() })
    },
    tell: (worker: number, message: ToWorker) => told.push([worker, message]),
  } as unknown as WorkerPool
  const made = new IdentityDesk({
    log: silentLog,
    pool: () => pool,
    wants: { want: (id) => wants.push(`+${id}`), forget: (id) => wants.push(`-${id}`) },
    onReady: () => void ready++,
  })
  return { made, wants, given, told, readiness: () => ready }
}

test('an identity is ready once every worker holds it, and that is told once', async (t) => {
  const { made, wants, given, readiness } = desk()
  made.want(ID)
  t.deepEqual(wants, [`+${ID}`])
  t.false(made.isReady(ID))
  await made.receive(material(1))
  t.true(made.isReady(ID))
  t.deepEqual(
    given.map(({ worker }) => worker),
    [0, 1],
  )
  await made.receive(material(2))
  t.is(readiness(), 1)
})

test('a second workload of the same identity shares it, and the last one takes it away', async (t) => {
  const { made, told } = desk()
  made.want(ID)
  await made.receive(material(1))
  made.want(ID)
  made.forget(ID)
  t.deepEqual(told, [])
  t.true(made.isReady(ID))
  made.forget(ID)
  t.false(made.isReady(ID))
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
  made.want(ID)
  await made.receive(material(1))
  await made.receive(material(2))
  const [, , latest] = given
  given.length = 0
  await made.giveAll(1)
  t.deepEqual(given, [{ worker: 1, serial: latest?.serial ?? -1, key: 'key', roots: 'old' }])
  made.forget(ID)
  await made.receive(material(3))
  given.length = 0
  await made.giveAll(1)
  t.deepEqual(given, [])
})

test('keeps a key of its own, apart from what the keeper zeroes', async (t) => {
  const { made, given } = desk()
  made.want(ID)
  const fresh = material(1)
  await made.receive(fresh)
  new Uint8Array(fresh.keyPem).fill(0)
  await made.giveAll(0)
  t.true(given.every(({ key }) => key === 'key'))
})

test('other roots reach every worker with the same certificate, under a newer number', async (t) => {
  const { made, given } = desk()
  made.want(ID)
  await made.receive(material(7))
  const before = given[0]?.serial ?? Number.NaN
  given.length = 0
  await made.trust(['new'])
  t.deepEqual(
    given.map(({ worker, key, roots }) => ({ worker, key, roots })),
    [
      { worker: 0, key: 'key', roots: 'new' },
      { worker: 1, key: 'key', roots: 'new' },
    ],
  )
  t.true(given.every(({ serial }) => serial > before))
})
