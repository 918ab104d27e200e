import test from 'ava'
import type { Connections, FlowShown, Status } from '../../admin/shapes.ts'
import { bucketOf, emptyCounts } from '../../base/histogram.ts'
import { compact, duration, milliseconds, printable, shortIdentity } from './figures.ts'
import { topRows } from './rows.ts'
import { type Scene, screenful } from './screenful.ts'

const FIGURES = [
  [compact(0), '0'],
  [compact(7), '7'],
  [compact(999), '999'],
  [compact(999.6), '1.0k'],
  [compact(1_234), '1.2k'],
  [compact(45_600_000), '46M'],
  [compact(999_900), '1.0M'],
  [milliseconds(undefined), '-'],
  [milliseconds(0.351), '0.35'],
  [milliseconds(4.24), '4.2'],
  [milliseconds(120.4), '120'],
  [milliseconds(2_460), '2.5s'],
  [duration(59_999), '59 s'],
  [duration(7_199_000), '119 min'],
  [duration(90_000_000), '25 h'],
  [duration(900_000_000), '10 d'],
  [shortIdentity('spiffe://a/ns/shop/sa/web', 'a'), 'shop/web'],
  [shortIdentity('spiffe://b/ns/shop/sa/web', 'a'), 'b:shop/web'],
  [shortIdentity('spiffe://b/else', 'b'), 'spiffe://b/else'],
  [printable('a\x1b[31mb\nü'), 'a?[31mb??'],
] as const

for (const [shown, text] of FIGURES) {
  test(`a figure reads ${text}`, (t) => {
    t.is(shown, text)
  })
}

const end = (name: string, domain = 'shop.example') => ({
  uid: `uid-${name}`,
  workload: name,
  namespace: 'shop',
  identity: `spiffe://${domain}/ns/shop/sa/${name}`,
})

function latency(...durations: readonly number[]): number[] {
  const counts = emptyCounts()
  for (const duration of durations) {
    const bucket = bucketOf(duration)
    counts[bucket] = (counts[bucket] ?? 0) + 1
  }
  return counts
}

function flow(from: string, to: string, more: Partial<FlowShown> = {}): FlowShown {
  return {
    direction: 'outbound',
    path: 'tunnel',
    source: end(from),
    destination: { ...end(to), port: 80, service: `${to}.shop.svc.cluster.local` },
    opened: 10,
    open: 1,
    failed: {},
    sentBytes: 1_000,
    receivedBytes: 50_000,
    latency: latency(1, 1, 4),
    ...more,
  }
}

const told = (node: string, atMs: number, flows: readonly FlowShown[]): Connections => ({
  node,
  atMs,
  latencyBoundsMs: [],
  flows,
  flowsLeftOut: 0,
  forgotten: 0,
  silentWorkers: [],
})

const inbound = (from: string, to: string): FlowShown =>
  flow(from, to, { direction: 'inbound', destination: { ...end(to), port: 8080 } })

test('a tunnel between two nodes is one row, with the rates of its source', (t) => {
  const before = [told('one', 0, [flow('web', 'cart')]), told('two', 500, [inbound('web', 'cart')])]
  const grown = { sentBytes: 3_000, receivedBytes: 90_000 }
  const now = [
    told('one', 2_000, [flow('web', 'cart', grown)]),
    told('two', 2_500, [{ ...inbound('web', 'cart'), ...grown }]),
  ]
  const rows = topRows(now, before)
  t.is(rows.length, 1)
  t.like(rows[0], {
    from: 'shop/web',
    to: 'cart.shop:80',
    at: 'shop/cart',
    client: 'shop/web',
    server: 'shop/cart',
    opened: 10,
    sentRate: 1_000,
    receivedRate: 20_000,
  })
  t.is(topRows([told('two', 0, [inbound('web', 'cart')])])[0]?.to, 'shop/cart:8080')
})

test('before there are two looks there are no rates', (t) => {
  const [row] = topRows([told('one', 5, [flow('web', 'cart')])])
  t.is(row?.sentRate, undefined)
  t.is(row?.p50Ms, 0.9075)
})

test('an agent that restarted counts from nothing, and what is new counts whole', (t) => {
  const before = [told('one', 0, [flow('web', 'cart', { sentBytes: 9_000, opened: 50 })])]
  const now = [
    told('one', 1_000, [
      flow('web', 'cart', { sentBytes: 500, opened: 2, latency: latency(1) }),
      flow('web', 'stock', { sentBytes: 700 }),
    ]),
  ]
  t.deepEqual(
    topRows(now, before)
      .map(({ to, sentRate }) => [to, sentRate])
      .sort(),
    [
      ['cart.shop:80', 500],
      ['stock.shop:80', 700],
    ],
  )
})

test('latency is of what came lately, or of all when nothing did', (t) => {
  const old = told('one', 0, [flow('web', 'cart', { latency: latency(1, 1, 1) })])
  const now = told('one', 9_000, [flow('web', 'cart', { latency: latency(1, 1, 1, 900, 900) })])
  const fast = topRows([old], [old])[0]
  t.true((fast?.p99Ms ?? 0) <= 1)
  const slow = topRows([now], [now], [old])[0]
  t.true((slow?.p50Ms ?? 0) > 600)
})

test('attempts that failed before anybody proved himself belong to the same row', (t) => {
  const { identity, ...nobody } = end('cart')
  const destination = { ...nobody, port: 80, service: 'cart.shop.svc.cluster.local' }
  const refused = flow('web', 'cart', {
    destination,
    opened: 3,
    open: 0,
    failed: { 'policy-denied': 2, 'connect-failed': 1 },
  })
  const rows = topRows([told('one', 0, [flow('web', 'cart'), refused])])
  t.is(rows.length, 1)
  t.like(rows[0], { opened: 13, failed: 3, reason: 'policy-denied', server: 'shop/cart' })
  t.truthy(identity)
})

test('another trust domain is shown, an address is an address, and names obey nobody', (t) => {
  const stranger = flow('web', 'cart', {
    source: { ip: 'fd00::9' },
    path: 'plaintext',
    direction: 'inbound',
    destination: { ...end('cart', 'other.example'), port: 80 },
  })
  const evil = flow('a', 'b', { source: { ...end('a'), workload: 'a\x1b[2J' } })
  const rows = topRows([told('one', 0, [flow('x', 'y'), evil, stranger])])
  const find = (from: string) => rows.find((row) => row.from === from)
  t.like(find('fd00::9'), {
    client: '-',
    server: 'other.example:shop/cart',
    to: 'shop/cart:80',
    at: '',
  })
  t.truthy(find('shop/a?[2J'))
})

const STATUS: Status = {
  version: '1',
  node: 'one',
  pid: 1,
  startedAt: '',
  uptimeMs: 65_000,
  config: { version: 1, state: 'in-force', issues: [], issuesLeftOut: 0 },
  workers: { wanted: 2, alive: [0, 1] },
  kernel: { release: '', forms: {} },
  workloads: { known: 1, local: 1, enrolled: 1 },
  services: 0,
  policies: 0,
  certificates: { valid: 1, awaited: 0, failing: 0 },
  counters: {},
  dns: {},
}

const BEFORE = [told('one', 0, [flow('web', 'cart'), flow('shopper', 'web', { open: 0 })])]
const NOW = [
  told('one', 1_000, [
    flow('web', 'cart', { sentBytes: 2_200, receivedBytes: 75_000 }),
    flow('shopper', 'web', { open: 0, opened: 12, failed: { 'policy-denied': 2 } }),
    flow('web', 'stock', {
      path: 'direct',
      open: 0,
      sentBytes: 0,
      receivedBytes: 0,
      destination: { ...end('stock'), port: 7000 },
    }),
  ]),
]

const scene = (more: Partial<Scene> = {}): Scene => ({
  now: NOW,
  before: BEFORE,
  past: BEFORE,
  statuses: [STATUS],
  silent: [],
  isPaused: false,
  title: 'weft top',
  ...more,
})

const text = (given: Scene, columns: number, rows?: number) =>
  screenful(given, rows === undefined ? { columns } : { columns, rows }).map((line) => line.text)

test('a wide screen, as text', (t) => {
  t.deepEqual(text(scene(), 160), [
    'weft top - node one (up 65 s)',
    'connections: 1 open, 32 in all, out 1.2k B/s, in 25k B/s, 2 failed',
    '',
    'FROM          TO               AT         PATH    CLIENT ID     SERVER ID   OPEN  TOTAL  OUT B/s  IN B/s  P50 ms  P99 ms  FAILED',
    'shop/web      cart.shop:80     shop/cart  tunnel  shop/web      shop/cart      1     10     1.2k     25k    0.91     4.0',
    'shop/shopper  web.shop:80      shop/web   tunnel  shop/shopper  shop/web       0     12        0       0    0.91     4.0  2 policy-denied',
    'shop/web      shop/stock:7000             direct  shop/web      shop/stock     0     10        0       0    0.91     4.0',
  ])
})

test('an ordinary screen leaves out what is needed least', (t) => {
  t.deepEqual(text(scene(), 80), [
    'weft top - node one (up 65 s)',
    'connections: 1 open, 32 in all, out 1.2k B/s, in 25k B/s, 2 failed',
    '',
    'FROM        TO            PATH    OPEN  TOTAL  OUT B/s  IN B/s  P99 ms  FAILED',
    'shop/web    cart.shop:80  tunnel     1     10     1.2k     25k     4.0',
    'shop/~pper  web.shop:80   tunnel     0     12        0       0     4.0  2 po~ied',
    'shop/web    shop/s~:7000  direct     0     10        0       0     4.0',
  ])
})

test('no line is longer than the screen, and no more lines than it has, however small', (t) => {
  for (let columns = 1; columns <= 200; columns++) {
    for (const line of text(scene(), columns)) t.true(line.length <= columns, line)
  }
  for (let rows = 6; rows <= 12; rows++) t.true(text(scene(), 100, rows).length <= rows)
  t.is(text(scene(), 100, 6).at(-1), 'and 2 more')
})

test('what fails is red, what rests is pale, what is wrong is said', (t) => {
  const styles = screenful(scene(), { columns: 200 }).map(({ style }) => style)
  t.deepEqual(styles, ['title', 'plain', 'plain', 'head', 'plain', 'bad', 'quiet'])
  const issues = [{ severity: 'error', text: 'a.yaml:3: no such kind' }] as const
  const ill: Status = {
    ...STATUS,
    config: { version: 3, state: 'last-good', issues, issuesLeftOut: 0 },
    workers: { wanted: 2, alive: [1] },
    certificates: { valid: 0, awaited: 1, failing: 1 },
  }
  const busy = { ...told('one', 1_000, []), silentWorkers: [1] }
  const wrong = scene({
    now: [busy],
    statuses: [ill],
    silent: ['no agent answers in /b'],
    isPaused: true,
  })
  t.deepEqual(
    screenful(wrong, { columns: 200 })
      .filter(({ style }) => style === 'warn')
      .map((line) => line.text),
    [
      'no agent answers in /b',
      'one: workers 1 are too busy to answer',
      'one: the last good configuration is in force: a.yaml:3: no such kind',
      'one: 1 of 2 workers are down',
      'one: 1 certificates fail',
    ],
  )
  t.is(text(wrong, 200)[0], 'weft top - node one (up 65 s) - PAUSED')
  t.is(text(wrong, 200).at(-1), 'nobody has talked to anybody yet')
})
