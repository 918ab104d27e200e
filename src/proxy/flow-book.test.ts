import test from 'ava'
import { manualClock } from '../base/clock.ts'
import { bucketOf } from '../base/histogram.ts'
import type { SurveySlice } from '../model/flow.ts'
import { Connection } from './connection.ts'
import { FlowBook } from './flow-book.ts'
import { LiveConnections } from './live.ts'
import { Client } from './testing/client.ts'
import { until } from './testing/conditions.ts'
import { app, type Mesh, podOf, service, startNode, tablesOf, workload } from './testing/world.ts'

const A = workload('a', '10.0.0.1')
const B = workload('b', '10.0.0.2')
const DONE = { reason: 'completed', sentBytes: 0, receivedBytes: 0 } as const

async function whole(slices: AsyncIterable<SurveySlice>): Promise<SurveySlice> {
  const all: SurveySlice[] = []
  for await (const slice of slices) all.push(slice)
  const last = all.at(-1)
  if (last === undefined) throw new Error('no slice')
  return { ...last, flows: all.flatMap(({ flows }) => flows) }
}

/** A connection of `a` to `b`, by tunnel unless told otherwise. */
function connection(startedMs: number, port = 80): Connection {
  const ends = { source: { ip: '10.0.0.1', port: 4000 }, destination: { ip: '10.0.0.2', port } }
  const made = new Connection('outbound', 'tunnel', podOf(A), ends, startedMs, startedMs)
  made.sourceWorkload = A
  made.destinationWorkload = B
  return made
}

test('bytes of open connections count once, however often one looks', async (t) => {
  const clock = manualClock(1_000)
  const book = new FlowBook(clock)
  const live = new LiveConnections()
  const moved = { sentBytes: 0, receivedBytes: 0 }
  const one = connection(clock.nowMs())
  one.moved = moved
  live.add(one)
  clock.advance(4)
  book.ready(one)
  const look = async () => (await whole(book.survey(live, 5))).flows[0]
  t.like(await look(), { opened: 1, open: 1, sentBytes: 0 })
  Object.assign(moved, { sentBytes: 100, receivedBytes: 7 })
  t.like(await look(), { sentBytes: 100, receivedBytes: 7 })
  t.like(await look(), { sentBytes: 100, receivedBytes: 7 })
  Object.assign(moved, { sentBytes: 150, receivedBytes: 8 })
  live.remove(one)
  book.closed(one, { ...DONE, sentBytes: 150, receivedBytes: 8 })
  const row = await look()
  t.like(row, { opened: 1, open: 0, failed: {}, sentBytes: 150, receivedBytes: 8 })
  t.is(row?.latency[bucketOf(4)], 1)
  t.is(row?.source.identity, 'spiffe://cluster.local/ns/default/sa/a')
  t.is(row?.destination.identity, undefined, 'nothing was proven of the other end')
})

test('what never came to be is counted by its reason', async (t) => {
  const book = new FlowBook(manualClock())
  for (const reason of ['policy-denied', 'policy-denied', 'connect-failed'] as const) {
    book.closed(connection(0), { ...DONE, reason })
  }
  const { flows } = await whole(book.survey(new LiveConnections(), 0))
  t.is(flows.length, 1)
  t.like(flows[0], { opened: 3, open: 0, failed: { 'policy-denied': 2, 'connect-failed': 1 } })
})

test('tells the busiest open connections, and how many more there are', async (t) => {
  const book = new FlowBook(manualClock())
  const live = new LiveConnections()
  for (let at = 0; at < 10; at++) {
    const one = connection(0, 80 + at)
    one.moved = { sentBytes: at * 10, receivedBytes: 0 }
    live.add(one)
    book.ready(one)
  }
  // Not ready yet: it belongs to no flow.
  live.add(connection(0))
  const { connections, connectionsLeftOut } = await whole(book.survey(live, 3))
  t.deepEqual(
    connections.map(({ destinationAddress, sentBytes }) => [destinationAddress, sentBytes]),
    [
      ['10.0.0.2:89', 90],
      ['10.0.0.2:88', 80],
      ['10.0.0.2:87', 70],
    ],
  )
  t.is(connectionsLeftOut, 7)
})

test('many flows come in slices, and what finds no room comes as others', async (t) => {
  const book = new FlowBook(manualClock(), { named: 450, addresses: 1 })
  for (let port = 1; port <= 460; port++) book.ready(connection(0, port))
  const sizes: number[] = []
  let others: SurveySlice['others']
  for await (const slice of book.survey(new LiveConnections(), 0)) {
    sizes.push(slice.flows.length)
    t.is(slice.isLast, sizes.length === 3)
    others = slice.others
  }
  t.deepEqual(sizes, [200, 200, 50])
  t.like(others, { opened: 10, open: 10 })
})

test('both ends of a tunnel count what a program really sent', async (t) => {
  const key = 'default/web.default.svc.cluster.local'
  const a = workload('a', '127.31.0.1')
  const pairs = { [key]: [{ servicePort: 80, targetPort: 8080 }] }
  const b = workload('b', '127.31.0.2', { services: pairs })
  const mesh: Mesh = {
    workloads: [a, b],
    services: [service('web', '10.97.31.1', [[80, 8080]], [b])],
  }
  const node = await startNode(tablesOf(1, mesh), mesh.workloads)
  t.teardown(() => node.close())
  const web = await app('127.31.0.2', 8080, (socket) => socket.pipe(socket))
  t.teardown(() => web.close())
  await node.expose(b)
  const client = new Client('127.31.0.1', await node.capture(a, '10.97.31.1', 80))
  client.socket.write('12345')
  await until('the echo', () => client.bytes === 5)
  const open = await whole(node.plane.survey(10))
  t.is(open.connections.length, 2)
  t.deepEqual(
    open.flows.map(({ direction, open, sentBytes }) => [direction, open, sentBytes]).sort(),
    [
      ['inbound', 1, 5],
      ['outbound', 1, 5],
    ],
  )
  const [out] = open.flows.filter(({ direction }) => direction === 'outbound')
  t.like(out, {
    path: 'tunnel',
    source: { uid: a.uid, identity: 'spiffe://cluster.local/ns/default/sa/a' },
    destination: {
      uid: b.uid,
      port: 80,
      service: 'web.default.svc.cluster.local',
      identity: 'spiffe://cluster.local/ns/default/sa/b',
    },
  })
  client.socket.end('678')
  await client.over()
  await node.entry(1)
  const over = await whole(node.plane.survey(10))
  t.is(over.connections.length, 0)
  t.deepEqual(
    over.flows.map(({ opened, open, sentBytes, receivedBytes }) => [
      opened,
      open,
      sentBytes,
      receivedBytes,
    ]),
    [
      [1, 0, 8, 8],
      [1, 0, 8, 8],
    ],
  )
})
