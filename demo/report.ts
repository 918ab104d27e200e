// What happened on every edge of the shop: the programs' own measurements beside the mesh's access
// logs, as one table. Pure.
import type { AccessEntry } from '../src/model/access-entry.ts'
import { EDGES, type Edge, identity } from './shop/topology.ts'

/** One call as the calling program saw it. */
export interface Call {
  readonly edge: string
  readonly ok: boolean
  readonly ms: number
}

export interface EdgeRow {
  readonly edge: string
  readonly path: string
  readonly client: string
  readonly server: string
  readonly requests: number
  readonly failures: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** What is not as it should be. */
  readonly faults: readonly string[]
}

/** Lines of the programs: JSON with edge and either ok and ms, or status and seconds. */
export function parseCalls(text: string): readonly Call[] {
  return text.split('\n').flatMap((line) => {
    if (!line.startsWith('{')) return []
    const value = JSON.parse(line) as Record<string, unknown>
    const edge = String(value.edge)
    if ('ms' in value) return [{ edge, ok: value.ok === true, ms: Number(value.ms) }]
    return [{ edge, ok: value.status === 200, ms: Number(value.seconds) * 1000 }]
  })
}

/** `requests` is how many every edge must have carried at least. */
export function edgeRows(
  calls: readonly Call[],
  log: readonly AccessEntry[],
  requests: number,
): readonly EdgeRow[] {
  return EDGES.map((edge) => edgeRow(edge, calls, log, requests))
}

function edgeRow(
  edge: Edge,
  calls: readonly Call[],
  log: readonly AccessEntry[],
  requests: number,
): EdgeRow {
  const name = `${edge.from} ${edge.to}`
  const own = calls.filter((call) => call.edge === name)
  const entries = log.filter(
    (entry) => entry.source.workload === edge.from && entry.destination.workload === edge.to,
  )
  const paths = distinct(entries.map((entry) => entry.path))
  const clients = distinct(entries.flatMap((entry) => entry.source.identity ?? []))
  const servers = distinct(entries.flatMap((entry) => entry.destination.identity ?? []))
  const failures = own.filter((call) => !call.ok).length
  const times = own.map((call) => call.ms).sort((a, b) => a - b)
  const faults: string[] = []
  const expect = (holds: boolean, fault: string): void => {
    if (!holds) faults.push(`${name.replace(' ', ' -> ')}: ${fault}`)
  }
  expect(own.length >= requests, `${own.length} requests of ${requests}`)
  expect(failures === 0, `${failures} failed`)
  expect(
    paths.join() === edge.path,
    `went by ${paths.join(', ') || 'no known path'}, not ${edge.path}`,
  )
  expect(
    clients.join() === identity(edge.from),
    `client identity is ${clients.join(', ') || 'absent'}`,
  )
  expect(
    servers.join() === identity(edge.to),
    `server identity is ${servers.join(', ') || 'absent'}`,
  )
  return {
    edge: `${edge.from} -> ${edge.to}`,
    path: paths.join(', ') || '-',
    client: clients.join(', ') || '-',
    server: servers.join(', ') || '-',
    requests: own.length,
    failures,
    p50Ms: quantile(times, 0.5),
    p99Ms: quantile(times, 0.99),
    faults,
  }
}

/** `sorted` ascending; NaN when empty. Nearest rank. */
export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN
}

export function formatTable(rows: readonly EdgeRow[]): string {
  const cells = rows.map((row) => [
    row.edge,
    row.path,
    row.client,
    row.server,
    String(row.requests),
    String(row.failures),
    row.p50Ms.toFixed(2),
    row.p99Ms.toFixed(2),
  ])
  const head = [
    'edge',
    'path',
    'client identity',
    'server identity',
    'requests',
    'failures',
    'p50 ms',
    'p99 ms',
  ]
  const all = [head, ...cells]
  const widths = head.map((_, at) => Math.max(...all.map((line) => line[at]?.length ?? 0)))
  const isNumber = (at: number): boolean => at >= 4
  return all
    .map((line) =>
      line
        .map((text, at) =>
          isNumber(at) ? text.padStart(widths[at] ?? 0) : text.padEnd(widths[at] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

const distinct = (values: readonly string[]): readonly string[] => [...new Set(values)].sort()
