import test from 'ava'
import { manualClock } from '../../base/clock.ts'
import { memoryLog } from '../../base/log.ts'
import type { IdentityMaterial } from '../../model/messages.ts'
import type { SpiffeId } from '../../model/spiffe-id.ts'
import { CertificateKeeper, type KeeperOptions } from './keeper.ts'
import type { IssuedCertificate } from './source.ts'

const HOUR_MS = 3_600_000
const BACKDATE_MS = 60_000
/** When a certificate of an hour is due. */
const HALF_MS = (HOUR_MS + BACKDATE_MS) / 2 - BACKDATE_MS
const idOf = (name: string) => `spiffe://cluster.local/ns/shop/sa/${name}`
const WEB = idOf('web')

interface Asked {
  readonly id: string
  readonly ttlMs: number
  readonly atMs: number
  readonly answer: (fields?: Partial<IssuedCertificate>) => Promise<void>
  readonly fail: (message?: string) => Promise<void>
}

/** A keeper with a source that answers when the test says so. */
function setUp(options: KeeperOptions = {}, random = () => 0.5) {
  const clock = manualClock(1_000_000_000)
  const log = memoryLog()
  const asked: Asked[] = []
  const emitted: IdentityMaterial[] = []
  const source = {
    issue: (id: SpiffeId, ttlMs: number) =>
      new Promise<IssuedCertificate>((resolve, reject) => {
        const nowMs = clock.nowMs()
        const issued = {
          id,
          certificateChainPem: `chain ${asked.length}`,
          keyPem: new Uint8Array([1, 2, 3]).buffer,
          rootsPem: ['root'],
          notBeforeMs: nowMs - BACKDATE_MS,
          notAfterMs: nowMs + ttlMs,
        }
        asked.push({
          id,
          ttlMs,
          atMs: nowMs,
          answer: (fields = {}) => settled(() => resolve({ ...issued, ...fields })),
          fail: (message = 'no') => settled(() => reject(new Error(message))),
        })
      }),
  }
  const onMaterial = (material: IdentityMaterial) => void emitted.push(material)
  const keeper = new CertificateKeeper({ source, clock, log, random, onMaterial }, options)
  return { keeper, clock, log, asked, emitted }
}

/** Runs `act` and lets the promises that hang on it run. */
async function settled(act: () => void): Promise<void> {
  act()
  await new Promise((resolve) => setImmediate(resolve))
}

const bytesOf = (material: IdentityMaterial | undefined): number[] => [
  ...new Uint8Array(material?.keyPem ?? new ArrayBuffer(0)),
]

test('what is wanted is issued at once and emitted', async (t) => {
  const { keeper, asked, emitted } = setUp({ ttlMs: () => HOUR_MS })
  keeper.want(WEB)
  t.is(asked[0]?.ttlMs, HOUR_MS)
  t.is(keeper.current(WEB), undefined)
  await asked[0]?.answer()
  t.is(emitted.length, 1)
  t.like(emitted[0], { id: WEB, serial: 1, certificateChainPem: 'chain 0', rootsPem: ['root'] })
  t.is(keeper.current(WEB), emitted[0])
  t.deepEqual(keeper.materials(), emitted)
})

test('a day is asked for unless told otherwise', (t) => {
  const { keeper, asked } = setUp()
  keeper.want(WEB)
  t.is(asked[0]?.ttlMs, 24 * HOUR_MS)
})

test('renewal comes at half of the life, counted from NotBefore', async (t) => {
  const { keeper, clock, asked, emitted } = setUp({ ttlMs: () => HOUR_MS })
  keeper.want(WEB)
  await asked[0]?.answer()
  clock.advance(HALF_MS - 1)
  t.is(asked.length, 1)
  clock.advance(1)
  t.is(asked.length, 2)
  await asked[1]?.answer()
  t.deepEqual(
    emitted.map(({ serial }) => serial),
    [1, 2],
  )
})

test('the key of a replaced certificate is zeroed, the new one is not', async (t) => {
  const { keeper, clock, asked, emitted } = setUp({ ttlMs: () => HOUR_MS })
  keeper.want(WEB)
  await asked[0]?.answer()
  clock.advance(HALF_MS)
  await asked[1]?.answer()
  t.deepEqual(
    [bytesOf(emitted[0]), bytesOf(emitted[1])],
    [
      [0, 0, 0],
      [1, 2, 3],
    ],
  )
})

test('a failed renewal keeps the old certificate and is tried again, ever later', async (t) => {
  const { keeper, clock, asked, emitted, log } = setUp({ ttlMs: () => 100 * HOUR_MS })
  keeper.want(WEB)
  await asked[0]?.answer()
  clock.advance(50 * HOUR_MS)
  const delays = [1, 2, 4, 8, 16, 32, 64, 128, 150, 150].map((seconds) => seconds * 1000)
  for (const [at, delayMs] of delays.entries()) {
    await asked[at + 1]?.fail()
    t.is(keeper.current(WEB), emitted[0])
    clock.advance(delayMs - 1)
    t.is(asked.length, at + 2, `before ${delayMs}`)
    clock.advance(1)
    t.is(asked.length, at + 3, `after ${delayMs}`)
  }
  t.deepEqual(bytesOf(emitted[0]), [1, 2, 3])
  await asked.at(-1)?.answer()
  t.is(emitted.length, 2)
  t.is(log.entries.filter(({ event }) => event === 'identity.not-renewed').length, delays.length)
})

for (const [dice, delayMs] of [
  [0, 800],
  [0.5, 1000],
  [0.999999, 1200],
] as const) {
  test(`the first retry comes after ${delayMs} ms when the dice show ${dice}`, async (t) => {
    const { keeper, clock, asked } = setUp({}, () => dice)
    keeper.want(WEB)
    await asked[0]?.fail()
    clock.advance(delayMs - 1)
    t.is(asked.length, 1)
    clock.advance(1)
    t.is(asked.length, 2)
  })
}

test("back-off is each identity's own, and success ends it", async (t) => {
  const { keeper, clock, asked } = setUp({ ttlMs: () => HOUR_MS })
  keeper.want(WEB)
  await asked[0]?.fail()
  clock.advance(1000)
  await asked[1]?.fail()
  keeper.want(idOf('api'))
  t.is(asked.length, 3)
  await asked[2]?.fail()
  clock.advance(1000)
  t.deepEqual(asked.map(({ id }) => id).slice(3), [idOf('api')])
  clock.advance(1000)
  await asked[4]?.answer()
  clock.advance(HALF_MS)
  const renewal = asked.findLast(({ id }) => id === WEB)
  await renewal?.fail()
  const before = asked.filter(({ id }) => id === WEB).length
  clock.advance(1000)
  t.is(asked.filter(({ id }) => id === WEB).length, before + 1)
})

test('uses are counted, and the last one takes the key with it', async (t) => {
  const { keeper, clock, asked, emitted } = setUp()
  keeper.want(WEB)
  keeper.want(WEB)
  t.is(asked.length, 1)
  await asked[0]?.answer()
  keeper.forget(WEB)
  t.is(keeper.current(WEB), emitted[0])
  t.deepEqual(bytesOf(emitted[0]), [1, 2, 3])
  keeper.forget(WEB)
  t.is(keeper.current(WEB), undefined)
  t.deepEqual(bytesOf(emitted[0]), [0, 0, 0])
  clock.advance(100 * HOUR_MS)
  t.is(asked.length, 1)
  t.is(clock.pending, 0)
  t.notThrows(() => keeper.forget(WEB))
})

test('an answer for what was forgotten meanwhile is dropped and its key zeroed', async (t) => {
  const { keeper, asked, emitted, clock } = setUp()
  keeper.want(WEB)
  keeper.forget(WEB)
  const keyPem = new Uint8Array([9, 9]).buffer
  await asked[0]?.answer({ keyPem })
  t.is(emitted.length, 0)
  t.deepEqual([...new Uint8Array(keyPem)], [0, 0])
  t.is(clock.pending, 0)
})

test('what is wanted again has a later serial', async (t) => {
  const { keeper, asked, emitted } = setUp()
  keeper.want(WEB)
  await asked[0]?.answer()
  keeper.forget(WEB)
  keeper.want(WEB)
  await asked[1]?.answer()
  t.deepEqual(
    emitted.map(({ serial }) => serial),
    [1, 2],
  )
})

test('at most eight requests run at once, and first certificates go before renewals', async (t) => {
  const { keeper, clock, asked } = setUp({ ttlMs: () => HOUR_MS })
  for (let at = 0; at < 8; at++) keeper.want(idOf(`old-${at}`))
  t.is(asked.length, 8)
  for (const request of asked.slice()) await request.answer()
  for (let at = 0; at < 10; at++) keeper.want(idOf(`blocker-${at}`))
  t.is(asked.length, 16)
  clock.advance(HOUR_MS / 2) // The old ones are due, the blockers time out meanwhile.
  await settled(() => {})
  t.deepEqual(
    asked.slice(16, 18).map(({ id }) => id),
    [idOf('blocker-8'), idOf('blocker-9')],
  )
  t.true(asked.slice(18).every(({ id }) => !id.includes('blocker-8')))
})

test('a source that never answers counts as failed after a while', async (t) => {
  const { keeper, clock, asked, log } = setUp({ issueTimeoutMs: 5000 })
  keeper.want(WEB)
  await settled(() => clock.advance(5000))
  t.is(log.entries[0]?.fields.error, 'no answer within 5000 ms')
  await settled(() => clock.advance(1000))
  t.is(asked.length, 2)
})

test('a certificate for another identity is never handed on', async (t) => {
  const { keeper, asked, emitted, log } = setUp()
  keeper.want(WEB)
  await asked[0]?.answer({ id: idOf('api') as SpiffeId })
  t.is(emitted.length, 0)
  t.regex(String(log.entries[0]?.fields.error), /answered for .*api/)
})

test('a certificate that has expired already is not handed on', async (t) => {
  const { keeper, asked, emitted, clock } = setUp()
  keeper.want(WEB)
  await asked[0]?.answer({ notAfterMs: clock.nowMs() })
  t.is(emitted.length, 0)
})

test('certificates about to end do not make the keeper ask in a loop', async (t) => {
  const { keeper, asked, clock } = setUp()
  keeper.want(WEB)
  await asked[0]?.answer({ notAfterMs: clock.nowMs() + 1 })
  clock.advance(999)
  t.is(asked.length, 1)
  clock.advance(1)
  t.is(asked.length, 2)
})

test('all can be renewed at once, and only once each', async (t) => {
  const { keeper, asked, clock } = setUp({ ttlMs: () => HOUR_MS })
  keeper.want(WEB)
  keeper.want(idOf('api'))
  for (const request of asked.slice()) await request.answer()
  keeper.renewAll()
  keeper.renewAll()
  t.is(asked.length, 4)
  for (const request of asked.slice(2)) await request.answer()
  t.is(clock.pending, 2)
})

test('roots that change while a certificate is being issued are not missed', async (t) => {
  const { keeper, asked, emitted } = setUp()
  keeper.want(WEB)
  keeper.renewAll()
  keeper.renewAll()
  t.is(asked.length, 1)
  await asked[0]?.answer()
  t.is(asked.length, 2)
  await asked[1]?.answer({ rootsPem: ['new'] })
  t.is(asked.length, 2)
  t.deepEqual(
    emitted.map(({ rootsPem }) => rootsPem),
    [['root'], ['new']],
  )
})

test('stopping ends renewal and zeroes what is held', async (t) => {
  const { keeper, asked, emitted, clock } = setUp()
  keeper.want(WEB)
  await asked[0]?.answer()
  keeper.stop()
  t.deepEqual(bytesOf(emitted[0]), [0, 0, 0])
  t.is(clock.pending, 0)
  keeper.want(WEB)
  t.is(asked.length, 1)
})

test('what is no identity is refused', (t) => {
  const { keeper } = setUp()
  t.throws(() => keeper.want('web'), { message: /not an identity/ })
})
