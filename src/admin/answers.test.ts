import test from 'ava'
import { manualClock } from '../base/clock.ts'
import { forgeLeaf, forgeRoot } from '../identity/testing/certificates.ts'
import { AdminAnswers } from './answers.ts'
import { Cached } from './cached.ts'
import { metricName, namedCounters } from './counter-names.ts'
import { adminPort, tablesWith, tableWorkload } from './testing/port.ts'

test('an answer is made once for all who ask within a while', async (t) => {
  const clock = manualClock()
  let made = 0
  const cached = new Cached(async () => ++made, clock, 200)
  t.deepEqual(await Promise.all([cached.get(), cached.get()]), [1, 1])
  clock.advance(199)
  t.is(await cached.get(), 1)
  clock.advance(1)
  t.is(await cached.get(), 2)
})

test('a failed answer is told to who waited, and tried again by the next', async (t) => {
  let made = 0
  const make = async (): Promise<number> => {
    if (++made === 1) throw new Error('busy')
    return made
  }
  const cached = new Cached(make, manualClock(), 200)
  await t.throwsAsync(cached.get(), { message: 'busy' })
  t.is(await cached.get(), 2)
})

const NAMES = [
  ['udp_passed', 'weft_udp_passthrough_total'],
  ['refused:policy-denied', 'weft_refused_total{reason="policy-denied"}'],
  ['connections_opened.outbound', 'weft_connections_opened_total{direction="outbound"}'],
  ['connections_active.inbound', 'weft_connections_active{direction="inbound"}'],
  ['sessions.inbound', 'weft_sessions{direction="inbound"}'],
  [
    'connections_closed.outbound.DENY',
    'weft_connections_closed_total{direction="outbound",response_flags="DENY"}',
  ],
  ['dns_captured', 'weft_dns_captured_total'],
  ['dns.answered', 'weft_dns_answered_total'],
  ['dns.in_flight', 'weft_dns_in_flight'],
] as const

for (const [name, metric] of NAMES) {
  test(`${name} is ${metric}`, (t) => {
    t.is(metricName(name), metric)
  })
}

test('counters that matter are told while they are zero, rare endings are not', (t) => {
  const named = namedCounters({ 'connections_closed.outbound.DENY': 0, captured: 4 })
  t.deepEqual(named, {
    weft_udp_passthrough_total: 0,
    weft_direct_total: 0,
    weft_captured_total: 4,
  })
})

test('the status says which configuration is in force, and what is wrong with the newest', async (t) => {
  const clock = manualClock(61_000)
  const a = tableWorkload('a')
  const port = adminPort({
    tables: () => tablesWith([a, tableWorkload('b'), tableWorkload('c', { node: 'two' })]),
    enrolment: ({ uid }) =>
      uid === a.uid ? { enrolled: true } : { enrolled: false, why: 'no process' },
    config: () => ({
      issues: [{ severity: 'error', text: 'a.yaml:3: what: remedy' }],
      refusal: undefined,
    }),
    counters: () => ({ udp_passed: 9, dns_captured: 2, 'dns.answered': 1 }),
    workers: () => ({ wanted: 4, alive: [0, 2] }),
  })
  t.like(await new AdminAnswers(port, clock).status(), {
    version: '1.2.3',
    node: 'one',
    uptimeMs: 60_000,
    config: { version: 3, state: 'last-good', issuesLeftOut: 0 },
    workers: { wanted: 4, alive: [0, 2] },
    workloads: { known: 3, local: 2, enrolled: 1 },
    kernel: { forms: { guard: 'tcx' } },
    counters: { weft_udp_passthrough_total: 9 },
    dns: { dns_captured: 2, 'dns.answered': 1 },
  })
  const states = [
    [adminPort(), 'none'],
    [adminPort({ tables: () => tablesWith([]) }), 'in-force'],
    [
      adminPort({
        tables: () => tablesWith([]),
        config: () => ({ issues: [], refusal: 'trust domain' }),
      }),
      'last-good',
    ],
    [
      adminPort({
        tables: () => tablesWith([]),
        config: () => ({ issues: [{ severity: 'warning', text: 'x' }], refusal: undefined }),
      }),
      'in-force',
    ],
  ] as const
  for (const [given, state] of states) {
    t.is((await new AdminAnswers(given, clock).status()).config.state, state)
  }
})

test('workloads of this node are told with what keeps them out; others on demand', async (t) => {
  const host = tableWorkload('nginx', {
    hostNetwork: true,
    match: { kind: 'host', pattern: 'system.slice/nginx.service' },
  })
  const far = tableWorkload('far', {
    node: 'two',
    peer: { mode: 'permissive', ports: { 80: 'strict' }, by: 'x' },
  })
  const outside = tableWorkload('outside', { tunnel: 'none' })
  const port = adminPort({
    tables: () => tablesWith([tableWorkload('a', { policies: ['shop/p'] }), host, far, outside]),
    enrolment: ({ name }) =>
      name === 'a' ? { enrolled: true } : { enrolled: false, why: 'waits for its certificate' },
    listeningPorts: () => new Map([['uid-a', [80, 443]]]),
  })
  const answers = new AdminAnswers(port, manualClock())
  const local = await answers.workloads({ all: false })
  t.deepEqual(
    local.workloads.map(({ name, network, enrolled, why, listening, match }) => [
      name,
      network,
      enrolled,
      why,
      listening,
      match,
    ]),
    [
      ['a', 'pod', true, undefined, [80, 443], undefined],
      ['nginx', 'host', false, 'waits for its certificate', [], 'host=system.slice/nginx.service'],
    ],
  )
  t.is(local.leftOut, 2)
  t.like(local.workloads[0], { policies: ['shop/p'], peerMode: 'strict', inMesh: true })
  const all = await answers.workloads({ all: true })
  t.is(all.leftOut, 0)
  t.like(all.workloads[2], {
    name: 'far',
    peerMode: 'permissive',
    peerModeByPort: { 80: 'strict' },
  })
  t.is(all.workloads[2]?.enrolled, undefined)
  t.false(all.workloads[3]?.inMesh)
})

test('certificates are told without their keys, those awaited with what went wrong', async (t) => {
  const root = await forgeRoot()
  const id = 'spiffe://cluster.local/ns/shop/sa/a'
  const leaf = await forgeLeaf(root, { uris: [id], notAfterMs: 4_102_444_800_000 })
  const renewAtMs = 4_102_000_000_000
  const port = adminPort({
    certificates: () => [
      {
        id: 'spiffe://cluster.local/ns/shop/sa/b',
        state: 'awaited',
        certificateChainPem: undefined,
        renewAtMs: undefined,
        failures: 2,
        failure: 'no answer',
      },
      {
        id,
        state: 'valid',
        certificateChainPem: leaf.pem,
        renewAtMs,
        failures: 0,
        failure: undefined,
      },
    ],
  })
  const { certificates } = await new AdminAnswers(port, manualClock()).certificates()
  t.deepEqual(
    certificates.map(({ identity }) => identity.at(-1)),
    ['a', 'b'],
  )
  t.like(certificates[0], {
    identity: id,
    state: 'valid',
    notAfter: '2100-01-01T00:00:00.000Z',
    renewAt: new Date(renewAtMs).toISOString(),
  })
  t.regex(certificates[0]?.serialNumber ?? '', /^[0-9A-F]+$/)
  t.truthy(certificates[0]?.issuer)
  t.like(certificates[1], { state: 'awaited', failures: 2, failure: 'no answer' })
  t.false(JSON.stringify(certificates).includes('PRIVATE'))
})
