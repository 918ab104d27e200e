import test from 'ava'
import type { AccessEntry } from '../model/access-entry.ts'
import type { FlowRow, LiveRow } from '../model/flow.ts'
import { connectionsOf } from './connections.ts'
import { DirectFlows } from './direct-flows.ts'
import { onceEach } from './once.ts'
import type { LiveDirect } from './port.ts'
import { flowRow, sliceOf, tablesWith, tableWorkload } from './testing/port.ts'

const A = tableWorkload('a')
const B = tableWorkload('b', { node: 'two' })
const C = tableWorkload('c')
const WEB = {
  key: 'shop/web.shop.svc.cluster.local',
  name: 'web',
  namespace: 'shop',
  hostname: 'web.shop.svc.cluster.local',
  vips: ['10.96.0.1'],
  ports: [],
  subjectAltNames: [],
  resolution: 'static',
  external: false,
  annotatedDirect: false,
  allowUnhealthy: false,
  assigned: false,
  endpoints: [C.uid],
} as const
const TABLES = tablesWith([A, B, C], [WEB])

const end = ({ uid, name, namespace }: typeof A) => ({ uid, workload: name, namespace })

const look = (
  slices: readonly ReturnType<typeof sliceOf>[],
  more: { live?: readonly LiveDirect[]; direct?: DirectFlows; silent?: readonly number[] } = {},
  asked = { live: false, bothEnds: false },
) =>
  connectionsOf(
    {
      node: 'one',
      atMs: 5,
      survey: { slices, silent: more.silent ?? [] },
      live: more.live ?? [],
      direct: more.direct ?? new DirectFlows(),
      tables: TABLES,
    },
    asked,
  )

test('flows of all workers are added up, and workloads told with their nodes', (t) => {
  const row = flowRow(end(A), end(B), { sentBytes: 5, failed: { 'policy-denied': 1 } })
  const more = flowRow(end(A), end(B), { opened: 4, open: 0, failed: { 'policy-denied': 2 } })
  const other = flowRow(end(A), end(B), { destination: { ...end(B), port: 81 } })
  const told = look([sliceOf({ flows: [row, other] }), sliceOf({ flows: [more], forgotten: 2 })], {
    silent: [3],
  })
  t.is(told.flows.length, 2)
  t.like(told.flows[0], {
    opened: 5,
    open: 1,
    sentBytes: 5,
    failed: { 'policy-denied': 3 },
    source: { workload: 'a', node: 'one' },
    destination: { workload: 'b', node: 'two' },
  })
  t.like(told, { forgotten: 2, silentWorkers: [3], node: 'one', atMs: 5 })
  t.false('live' in told)
})

const inbound = (from: FlowRow['source'], to: FlowRow['source'], more: Partial<FlowRow> = {}) =>
  flowRow(from, to, { direction: 'inbound', ...more })

const ONCE: readonly (readonly [string, readonly FlowRow[], number])[] = [
  ['both ends of a tunnel', [flowRow(end(A), end(C)), inbound(end(A), end(C))], 1],
  ['the far end alone', [inbound(end(A), end(C))], 1],
  ['the way back', [flowRow(end(A), end(C)), inbound(end(C), end(A))], 2],
  ['a source nobody knows', [flowRow(end(A), end(C)), inbound({ ip: '10.9.9.9' }, end(C))], 2],
  [
    'plaintext from a workload',
    [flowRow(end(A), end(C)), inbound(end(A), end(C), { path: 'plaintext' })],
    2,
  ],
]

for (const [what, rows, shown] of ONCE) {
  test(`of ${what}, ${shown} shown`, (t) => {
    const outbound = rows.filter(({ direction }) => direction === 'outbound')
    const once = onceEach(rows)
    t.is(once.length, shown)
    t.true(outbound.every((row) => once.includes(row)))
    t.is(look([sliceOf({ flows: rows })]).flows.length, shown)
    const both = look([sliceOf({ flows: rows })], {}, { live: false, bothEnds: true })
    t.is(both.flows.length, rows.length)
  })
}

const direct = (port: number, more: Partial<LiveDirect> = {}): LiveDirect => ({
  sourceUid: A.uid,
  destinationUid: C.uid,
  source: { ip: '10.0.0.1', port },
  destination: { ip: '10.0.0.3', port: 7000 },
  asked: { ip: '10.96.0.1', port: 80 },
  sentBytes: 10,
  receivedBytes: 20,
  srttUs: 90,
  ageMs: 1_500,
  ...more,
})

const closed = (port: number, more: Partial<AccessEntry> = {}): AccessEntry => ({
  direction: 'outbound',
  path: 'direct',
  reason: 'completed',
  flag: '-',
  source: { ip: '10.0.0.1', port, workload: A.uid },
  destination: { ip: '10.96.0.1', port: 80, endpoint: '10.0.0.3:7000', workload: C.uid },
  sentBytes: 100,
  receivedBytes: 200,
  durationMs: 4,
  srttUs: 900,
  version: 1,
  ...more,
})

test('direct connections count while they are open and when they have ended, under their service', (t) => {
  const flows = new DirectFlows()
  flows.closed(closed(4000), TABLES, 1)
  flows.closed(closed(4001, { reason: 'downstream-reset' }), TABLES, 1)
  flows.closed(
    closed(0, { reason: 'policy-denied', source: { ip: '10.0.0.1', port: 0, workload: A.uid } }),
    TABLES,
    1,
  )
  const told = look(
    [],
    { live: [direct(4002), direct(4003)], direct: flows },
    { live: true, bothEnds: false },
  )
  t.is(told.flows.length, 1)
  t.like(told.flows[0], {
    path: 'direct',
    opened: 5,
    open: 2,
    failed: { 'downstream-reset': 1, 'policy-denied': 1 },
    sentBytes: 220,
    receivedBytes: 440,
    source: { identity: 'spiffe://cluster.local/ns/shop/sa/a' },
    destination: {
      service: 'web.shop.svc.cluster.local',
      port: 80,
      identity: 'spiffe://cluster.local/ns/shop/sa/c',
    },
  })
  t.is(
    told.flows[0]?.latency.reduce((sum, count) => sum + count, 0),
    4,
  )
  t.like(told.live?.[0], { sourceAddress: '10.0.0.1:4002', ageMs: 1_500, sentBytes: 10 })
})

test('a direct connection that ends while they are listed counts once', (t) => {
  const flows = new DirectFlows()
  flows.listing()
  flows.closed(closed(4000), TABLES, 1)
  const told = look([], { live: [direct(4000), direct(4001)], direct: flows })
  t.like(told.flows[0], { opened: 2, open: 1, sentBytes: 110 })
})

test('a workload that has left keeps its uid as its name', (t) => {
  const flows = new DirectFlows()
  flows.closed(
    closed(4000, { source: { ip: '10.0.0.8', port: 4000, workload: 'gone' } }),
    TABLES,
    1,
  )
  t.like(look([], { direct: flows }).flows[0], { source: { uid: 'gone', workload: 'gone' } })
})

test('open connections are told when asked for, each once, the rest counted', (t) => {
  const row = (direction: 'inbound' | 'outbound'): LiveRow => ({
    ...flowRow(end(A), end(C), { direction }),
    sourceAddress: '10.0.0.1:4000',
    destinationAddress: '10.0.0.3:80',
    sentBytes: 1,
    receivedBytes: 2,
    ageMs: 3,
  })
  const slices = [
    sliceOf({
      flows: [flowRow(end(A), end(C))],
      connections: [row('outbound')],
      connectionsLeftOut: 4,
    }),
    sliceOf({ connections: [row('inbound')], connectionsLeftOut: 3 }),
  ]
  const told = look(slices, {}, { live: true, bothEnds: false })
  t.deepEqual(
    told.live?.map(({ direction }) => direction),
    ['outbound'],
  )
  t.is(told.liveLeftOut, 7)
  t.is(look(slices, {}, { live: true, bothEnds: true }).live?.length, 2)
})
