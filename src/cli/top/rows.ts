// From what agents answered, now and before, to the rows of the view: every pair of talkers once,
// how fast bytes move, how long connections took to be set up, what failed. Pure.
import { onceEach } from '../../admin/once.ts'
import type { Connections, FlowShown } from '../../admin/shapes.ts'
import { addCounts, emptyCounts, quantileMs } from '../../base/histogram.ts'
import { printable, shortIdentity, shortService, trustDomainOf } from './figures.ts'

/** One look at every agent that answered. */
export type Look = readonly Connections[]

export interface TopRow {
  readonly from: string
  readonly to: string
  /** The workload that was reached, where `to` does not name it. */
  readonly at: string
  readonly path: string
  /** Identities that were proven, in short; '-' when none was. */
  readonly client: string
  readonly server: string
  readonly open: number
  readonly opened: number
  /** Bytes in a second, the source's; undefined before there are two looks. */
  readonly sentRate: number | undefined
  readonly receivedRate: number | undefined
  readonly p50Ms: number | undefined
  readonly p99Ms: number | undefined
  readonly failed: number
  /** The commonest one. */
  readonly reason: string
  /** Failures since the look at `past`. */
  readonly failedLately: number
}

interface Pair {
  readonly flow: FlowShown
  readonly clients: Set<string>
  readonly servers: Set<string>
  readonly failed: Map<string, number>
  readonly latency: number[]
  readonly latencyLately: number[]
  open: number
  opened: number
  sentRate: number | undefined
  receivedRate: number | undefined
  failedLately: number
}

/** `before`: the look that rates are counted from; `past`: an older one, for what is rarer. */
export function topRows(now: Look, before?: Look, past: Look | undefined = before): TopRow[] {
  const once = new Set(onceEach(now.flatMap(({ flows }) => flows)))
  const pairs = new Map<string, Pair>()
  for (const told of now) {
    const seconds = secondsSince(told, before)
    const earlier = countsByFlow(told.node, before)
    const older = countsByFlow(told.node, past)
    for (const flow of told.flows) {
      if (!once.has(flow)) continue
      const pair = pairOf(pairs, flow)
      add(pair, flow, older?.get(keyOf(flow)), older !== undefined)
      if (seconds !== undefined) addRates(pair, flow, earlier?.get(keyOf(flow)), seconds)
    }
  }
  const usual = usualTrustDomain(now)
  return [...pairs.values()].map((pair) => rowOf(pair, usual)).sort(busiestFirst)
}

function secondsSince(told: Connections, before: Look | undefined): number | undefined {
  const earlier = before?.find(({ node }) => node === told.node)
  if (earlier === undefined || told.atMs <= earlier.atMs) return undefined
  return (told.atMs - earlier.atMs) / 1_000
}

function countsByFlow(
  node: string,
  look: Look | undefined,
): ReadonlyMap<string, FlowShown> | undefined {
  const told = look?.find((each) => each.node === node)
  return told && new Map(told.flows.map((flow) => [keyOf(flow), flow]))
}

/** What has grown since; a counter that fell began anew. */
const grown = (now: number, before: number | undefined): number =>
  before === undefined || before > now ? now : now - before

function add(pair: Pair, flow: FlowShown, older: FlowShown | undefined, isCompared: boolean): void {
  pair.open += flow.open
  pair.opened += flow.opened
  if (flow.source.identity !== undefined) pair.clients.add(flow.source.identity)
  if (flow.destination.identity !== undefined) pair.servers.add(flow.destination.identity)
  addCounts(pair.latency, flow.latency)
  for (const [reason, count = 0] of Object.entries(flow.failed)) {
    pair.failed.set(reason, (pair.failed.get(reason) ?? 0) + count)
  }
  if (!isCompared) return
  const isAnew = older !== undefined && older.opened > flow.opened
  const known = isAnew ? undefined : older
  addCounts(
    pair.latencyLately,
    flow.latency.map((count, bucket) => count - (known?.latency[bucket] ?? 0)),
  )
  pair.failedLately += grown(failures(flow), known === undefined ? 0 : failures(known))
}

function addRates(
  pair: Pair,
  flow: FlowShown,
  earlier: FlowShown | undefined,
  seconds: number,
): void {
  const sent = grown(flow.sentBytes, earlier?.sentBytes) / seconds
  const received = grown(flow.receivedBytes, earlier?.receivedBytes) / seconds
  pair.sentRate = (pair.sentRate ?? 0) + sent
  pair.receivedRate = (pair.receivedRate ?? 0) + received
}

function failures(flow: FlowShown): number {
  return Object.values(flow.failed).reduce((sum: number, count = 0) => sum + count, 0)
}

/** Within one agent's answer: identities included. */
function keyOf(flow: FlowShown): string {
  return `${pairKey(flow)} ${flow.source.identity} ${flow.destination.identity}`
}

/** What is one row: attempts that failed before anybody proved who he is belong to it too. */
function pairKey({ direction, path, source, destination }: FlowShown): string {
  const from = source.uid ?? source.ip
  const to = destination.uid ?? destination.ip
  return `${direction} ${path} ${from} ${to} ${destination.service} ${destination.port}`
}

function pairOf(pairs: Map<string, Pair>, flow: FlowShown): Pair {
  const key = pairKey(flow)
  const known = pairs.get(key)
  if (known !== undefined) return known
  const pair: Pair = {
    flow,
    clients: new Set(),
    servers: new Set(),
    failed: new Map(),
    latency: emptyCounts(),
    latencyLately: emptyCounts(),
    open: 0,
    opened: 0,
    sentRate: undefined,
    receivedRate: undefined,
    failedLately: 0,
  }
  pairs.set(key, pair)
  return pair
}

function rowOf(pair: Pair, usual: string): TopRow {
  const { flow, failed } = pair
  const { source, destination } = flow
  const [reason = ''] = [...failed].sort(([, a], [, b]) => b - a)[0] ?? []
  const hasLately = pair.latencyLately.some((count) => count > 0)
  const latency = hasLately ? pair.latencyLately : pair.latency
  const target =
    destination.service === undefined ? nameOf(destination) : shortService(destination.service)
  const isNamed = destination.service !== undefined && destination.uid !== undefined
  return {
    from: printable(nameOf(source)),
    to: printable(`${target.includes(':') ? `[${target}]` : target}:${destination.port}`),
    at: isNamed ? printable(nameOf(destination)) : '',
    path: printable(flow.path),
    client: identitiesOf(pair.clients, usual),
    server: identitiesOf(pair.servers, usual),
    open: pair.open,
    opened: pair.opened,
    sentRate: pair.sentRate,
    receivedRate: pair.receivedRate,
    p50Ms: quantileMs(latency, 0.5),
    p99Ms: quantileMs(latency, 0.99),
    failed: [...failed.values()].reduce((sum, count) => sum + count, 0),
    reason: printable(reason),
    failedLately: pair.failedLately,
  }
}

function nameOf({ namespace, workload, ip }: FlowShown['source']): string {
  if (workload === undefined) return ip ?? '-'
  return namespace === undefined ? workload : `${namespace}/${workload}`
}

function identitiesOf(ids: ReadonlySet<string>, usual: string): string {
  const [first, ...others] = [...ids].sort()
  if (first === undefined) return '-'
  const more = others.length === 0 ? '' : ` +${others.length}`
  return printable(shortIdentity(first, usual)) + more
}

/** The trust domain most identities are of: it goes without saying. */
function usualTrustDomain(look: Look): string {
  const seen = new Map<string, number>()
  for (const { flows } of look) {
    for (const { source, destination } of flows) {
      for (const id of [source.identity, destination.identity]) {
        const domain = id === undefined ? undefined : trustDomainOf(id)
        if (domain !== undefined) seen.set(domain, (seen.get(domain) ?? 0) + 1)
      }
    }
  }
  return [...seen].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))[0]?.[0] ?? ''
}

/** By what moves, then by what is open, then by what was; names decide among equals. */
function busiestFirst(a: TopRow, b: TopRow): number {
  const rateOf = (row: TopRow): number => (row.sentRate ?? 0) + (row.receivedRate ?? 0)
  const names = `${a.from} ${a.to} ${a.at}` < `${b.from} ${b.to} ${b.at}` ? -1 : 1
  return rateOf(b) - rateOf(a) || b.open - a.open || b.opened - a.opened || names
}
