// Adds up flows that several threads counted, each on its own.
import { addCounts, bucketOf, emptyCounts } from '../base/histogram.ts'
import type { FlowCounts, FlowLabels, FlowRow } from '../model/flow.ts'
import type { Reason } from '../model/reason.ts'

interface Sum extends FlowCounts {
  opened: number
  open: number
  sentBytes: number
  receivedBytes: number
  readonly failed: Partial<Record<Reason, number>>
  readonly latency: number[]
}

export class FlowSum {
  readonly #sums = new Map<string, { readonly labels: FlowLabels; readonly sum: Sum }>()

  add(row: FlowRow): void {
    addTo(this.#of(row), row)
  }

  /** One connection that is open. */
  addOpen(
    labels: FlowLabels,
    bytes: { readonly sentBytes: number; readonly receivedBytes: number },
    latencyMs: number | undefined,
  ): void {
    const sum = this.#of(labels)
    sum.opened++
    sum.open++
    sum.sentBytes += bytes.sentBytes
    sum.receivedBytes += bytes.receivedBytes
    if (latencyMs === undefined) return
    const bucket = bucketOf(latencyMs)
    sum.latency[bucket] = (sum.latency[bucket] ?? 0) + 1
  }

  /** What is open first, then what was used most. */
  rows(): FlowRow[] {
    const rows = [...this.#sums.values()].map(({ labels, sum }) => ({ ...labels, ...sum }))
    return rows.sort((a, b) => b.open - a.open || b.opened - a.opened)
  }

  #of(labels: FlowLabels): Sum {
    const key = keyOf(labels)
    const known = this.#sums.get(key)
    if (known !== undefined) return known.sum
    const { direction, path, source, destination } = labels
    const sum = emptySum()
    this.#sums.set(key, { labels: { direction, path, source, destination }, sum })
    return sum
  }
}

/** Undefined when none of them counted anything. */
export function sumOf(parts: readonly (FlowCounts | undefined)[]): FlowCounts | undefined {
  const sum = emptySum()
  for (const part of parts) if (part !== undefined) addTo(sum, part)
  return sum.opened === 0 ? undefined : sum
}

export function keyOf({ direction, path, source, destination }: FlowLabels): string {
  const from = [source.uid ?? source.ip, source.identity]
  const to = [destination.uid ?? destination.ip, destination.identity]
  return [direction, path, ...from, ...to, destination.port, destination.service].join(' ')
}

function emptySum(): Sum {
  return {
    opened: 0,
    open: 0,
    failed: {},
    sentBytes: 0,
    receivedBytes: 0,
    latency: emptyCounts(),
  }
}

function addTo(sum: Sum, more: FlowCounts): void {
  sum.opened += more.opened
  sum.open += more.open
  sum.sentBytes += more.sentBytes
  sum.receivedBytes += more.receivedBytes
  for (const [reason, count] of Object.entries(more.failed)) {
    sum.failed[reason as Reason] = (sum.failed[reason as Reason] ?? 0) + count
  }
  addCounts(sum.latency, more.latency)
}
