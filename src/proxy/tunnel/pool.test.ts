import test from 'ava'
import { type ManualClock, manualClock } from '../../base/clock.ts'
import type { Result } from '../../base/result.ts'
import type { WorkloadIdentity } from '../../identity/present/identity-store.ts'
import { LIMITS } from '../../model/limits.ts'
import { localPod } from '../../model/testing/local-pod.ts'
import { type FakeDial, type FakeSession, FakeTransport } from '../testing/fake-transport.ts'
import { TunnelPool } from './pool.ts'
import type { OpenStream, TunnelFailure, TunnelRequest } from './port.ts'

const HOUR_MS = 3_600_000
const NEVER = new AbortController().signal

interface Bench {
  readonly clock: ManualClock
  readonly transport: FakeTransport
  readonly pool: TunnelPool
  dial(at: number): FakeDial
}

function bench(): Bench {
  const clock = manualClock()
  const transport = new FakeTransport()
  const pool = new TunnelPool({ transport, clock }, { connectTimeoutMs: () => 1_000 })
  return {
    clock,
    transport,
    pool,
    dial(at) {
      const dial = transport.dials[at]
      if (dial === undefined) throw new Error(`no dial ${at} of ${transport.dials.length}`)
      return dial
    },
  }
}

function identity(name = 'a', serial = 1, notAfterMs = 100 * HOUR_MS): WorkloadIdentity {
  const id = `spiffe://cluster.local/ns/default/sa/${name}` as WorkloadIdentity['id']
  return { id, serial, notAfterMs, rootsPem: [], context: {} as WorkloadIdentity['context'] }
}

function request(more: Partial<TunnelRequest> = {}): TunnelRequest {
  return {
    from: localPod({ uid: 'pod-a', namespaceFd: 3, addresses: ['10.0.0.1'] }),
    identity: identity(),
    peer: { address: '10.0.0.2', port: 15_008, expectedIdentities: ['spiffe://b'] },
    authority: '10.0.0.2:80',
    headers: {},
    signal: NEVER,
    ...more,
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

type Outcome = Result<OpenStream, TunnelFailure>
const reasonOf = (outcome: Outcome): string => (outcome.ok ? 'ok' : outcome.error.reason)

test('makes one session for many who ask at once', async (t) => {
  const { pool, transport, dial } = bench()
  const opening = Array.from({ length: 100 }, () => pool.open(request()))
  t.is(transport.dials.length, 1)
  const session = dial(0).succeed()
  t.true((await Promise.all(opening)).every((outcome) => outcome.ok))
  t.is(session.openStreams, 100)
  t.is(transport.dials.length, 1)
})

test('dials another session when all are full, and no more than needed', async (t) => {
  const { pool, transport, dial } = bench()
  const opening = Array.from({ length: 250 }, () => pool.open(request()))
  t.is(transport.dials.length, 3)
  const sessions = [0, 1, 2].map((at) => dial(at).succeed())
  await Promise.all(opening)
  t.deepEqual(sessions.map((session) => session.openStreams).sort(), [100, 100, 50])
})

test('respects a smaller limit of the peer', async (t) => {
  const { pool, transport, dial } = bench()
  const first = pool.open(request())
  const session = dial(0).succeed()
  session.streamsMax = 1
  await first
  const second = pool.open(request())
  t.is(transport.dials.length, 2)
  dial(1).succeed()
  t.is(reasonOf(await second), 'ok')
  t.is(session.openStreams, 1)
})

test('never shares a session between workloads, identities, peers or expectations', async (t) => {
  const variants: Partial<TunnelRequest>[] = [
    {},
    { from: localPod({ uid: 'pod-z', namespaceFd: 3, addresses: ['10.0.0.1'] }) },
    { from: localPod({ uid: 'pod-a', namespaceFd: 3, addresses: ['10.0.0.9'] }) },
    { identity: identity('other') },
    { peer: { address: '10.0.0.3', port: 15_008, expectedIdentities: ['spiffe://b'] } },
    { peer: { address: '10.0.0.2', port: 15_009, expectedIdentities: ['spiffe://b'] } },
    {
      peer: { address: '10.0.0.2', port: 15_008, expectedIdentities: ['spiffe://b', 'spiffe://c'] },
    },
    ...['h-1.weft', 'h-2.weft'].map((serverName) => ({
      peer: {
        address: '10.0.0.2',
        port: 15_008,
        expectedIdentities: ['spiffe://b'],
        serverName,
      },
    })),
  ]
  const { pool, transport } = bench()
  for (const variant of variants) void pool.open(request(variant))
  t.is(transport.dials.length, variants.length)
})

test('takes expected identities in any order for the same', async (t) => {
  const { pool, transport } = bench()
  const peer = { address: '10.0.0.2', port: 15_008 }
  void pool.open(request({ peer: { ...peer, expectedIdentities: ['x', 'y'] } }))
  void pool.open(request({ peer: { ...peer, expectedIdentities: ['y', 'x'] } }))
  t.is(transport.dials.length, 1)
})

test('tells everybody who waits why a dial failed, and dials anew afterwards', async (t) => {
  const { pool, transport, dial } = bench()
  const opening = [pool.open(request()), pool.open(request())]
  dial(0).fail({ reason: 'tls-failed', detail: 'no' })
  t.deepEqual((await Promise.all(opening)).map(reasonOf), ['tls-failed', 'tls-failed'])
  const again = pool.open(request())
  t.is(transport.dials.length, 2)
  dial(1).succeed()
  t.is(reasonOf(await again), 'ok')
})

test('redials after a session died', async (t) => {
  const { pool, transport, dial } = bench()
  const first = pool.open(request())
  const session = dial(0).succeed()
  await first
  session.die()
  const second = pool.open(request())
  t.is(transport.dials.length, 2)
  dial(1).succeed()
  t.is(reasonOf(await second), 'ok')
})

test('retries a request the session never processed, elsewhere and not for ever', async (t) => {
  const { pool, transport, dial } = bench()
  const refused: TunnelFailure = {
    reason: 'h2-failed',
    detail: 'REFUSED_STREAM',
    unprocessed: true,
  }
  const opening = pool.open(request())
  const sessions: FakeSession[] = []
  for (let at = 0; at < 3; at++) {
    const session = dial(at).succeed()
    session.failNext = refused
    sessions.push(session)
    await turn()
  }
  t.is(reasonOf(await opening), 'h2-failed')
  t.deepEqual(
    sessions.map((session) => session.opened),
    [1, 1, 1],
  )
  t.is(transport.dials.length, 3)
})

test('does not retry what the peer answered', async (t) => {
  const { pool, dial } = bench()
  const opening = pool.open(request())
  const session = dial(0).succeed()
  session.failNext = { reason: 'peer-denied', detail: '401', status: 401 }
  t.is(reasonOf(await opening), 'peer-denied')
  t.is(session.opened, 1)
})

test('gives up on a peer that closes every session at once', async (t) => {
  const { pool, dial } = bench()
  const opening = pool.open(request())
  dial(0).succeed().die()
  t.is(reasonOf(await opening), 'h2-failed')
})

test('lets an idle session go, and keeps one that is used', async (t) => {
  const { pool, clock, dial } = bench()
  const opening = pool.open(request())
  const session = dial(0).succeed()
  await opening
  clock.advance(2 * LIMITS.sessionIdleMs)
  t.false(session.retired)
  session.closeStreams(1)
  clock.advance(LIMITS.sessionIdleMs - 20_000)
  t.false(session.retired)
  clock.advance(40_000)
  t.true(session.retired)
  clock.advance(60_000)
  t.deepEqual(pool.stats(), { peers: 0, sessions: 0, streams: 0, dialing: 0 })
  t.is(clock.pending, 0)
})

test('retires a session before its certificate ends', async (t) => {
  const { pool, clock, dial, transport } = bench()
  const opening = pool.open(request({ identity: identity('a', 1, HOUR_MS) }))
  const session = dial(0).succeed()
  await opening
  clock.advance(HOUR_MS - 80_000)
  t.false(session.retired)
  clock.advance(30_000)
  t.true(session.retired)
  t.is(session.openStreams, 1)
  void pool.open(request({ identity: identity('a', 2, 2 * HOUR_MS) }))
  t.is(transport.dials.length, 2)
})

test('a replaced certificate takes no new streams on old sessions', async (t) => {
  const { pool, dial, transport } = bench()
  const opening = pool.open(request())
  const old = dial(0).succeed()
  await opening
  pool.identityReplaced(identity('other').id, 2)
  t.false(old.retired)
  pool.identityReplaced(identity().id, 2)
  t.true(old.retired)
  t.false(old.destroyed)
  void pool.open(request({ identity: identity('a', 2) }))
  t.is(transport.dials[1]?.identity.serial, 2)
})

test('gives up waiting by signal without disturbing the others', async (t) => {
  const { pool, dial } = bench()
  const giveUp = new AbortController()
  const leaver = pool.open(request({ signal: giveUp.signal }))
  const stayer = pool.open(request())
  giveUp.abort({ reason: 'policy-changed' })
  t.is(reasonOf(await leaver), 'policy-changed')
  const session = dial(0).succeed()
  t.is(reasonOf(await stayer), 'ok')
  t.is(session.openStreams, 1)
})

test('bounds what waits for one peer', async (t) => {
  const { pool } = bench()
  for (let at = 0; at < LIMITS.pendingPerSessionMax; at++) void pool.open(request())
  t.is(reasonOf(await pool.open(request())), 'overloaded')
})

test('ends everything of a workload that leaves, and only that', async (t) => {
  const { pool, dial, transport } = bench()
  const here = pool.open(request())
  const other = pool.open(
    request({ from: localPod({ uid: 'pod-b', namespaceFd: 4, addresses: ['10.0.0.5'] }) }),
  )
  const leaving = dial(0).succeed()
  const staying = dial(1).succeed()
  await Promise.all([here, other])
  pool.closeWorkload('pod-a', 'workload-removed')
  t.true(leaving.destroyed)
  t.false(staying.destroyed)
  const late = pool.open(request())
  t.is(transport.dials.length, 3)
  pool.closeWorkload('pod-a', 'workload-removed')
  t.is(reasonOf(await late), 'workload-removed')
  t.true(dial(2).signal.aborted)
})

test('after retiring all, refuses new streams and keeps open ones', async (t) => {
  const { pool, dial } = bench()
  const opening = pool.open(request())
  const session = dial(0).succeed()
  await opening
  pool.retireAll('draining')
  t.true(session.retired)
  t.false(session.destroyed)
  t.is(reasonOf(await pool.open(request())), 'draining')
  pool.stop('draining')
  t.true(session.destroyed)
})

test('opens another session when much waits to be sent in the first', async (t) => {
  const { pool, dial, transport } = bench()
  const first = pool.open(request())
  const busy = dial(0).succeed()
  await first
  busy.queuedBytes = 8_000_000
  t.is(reasonOf(await pool.open(request())), 'ok')
  t.is(transport.dials.length, 2)
  const idle = dial(1).succeed()
  await turn()
  await pool.open(request())
  t.is(idle.openStreams, 1)
  t.is(busy.openStreams, 2)
})
