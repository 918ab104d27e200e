// Counts of durations in fixed buckets, and what can be read from them: small enough to keep one
// for each pair of workloads, exact enough for a quantile on a screen.

/** Upper bounds in milliseconds: five for each factor of ten, 0.1 ms to 10 s. What is longer counts
 * in one bucket more. A quantile is off by at most 58 %. */
export const LATENCY_BOUNDS_MS: readonly number[] = [
  0.1, 0.16, 0.25, 0.4, 0.63, 1, 1.6, 2.5, 4, 6.3, 10, 16, 25, 40, 63, 100, 160, 250, 400, 630,
  1_000, 1_600, 2_500, 4_000, 6_300, 10_000,
]

/** Counts of an empty histogram. */
export function emptyCounts(): number[] {
  return new Array<number>(LATENCY_BOUNDS_MS.length + 1).fill(0)
}

/** The bucket a duration belongs to. */
export function bucketOf(durationMs: number): number {
  let low = 0
  let high = LATENCY_BOUNDS_MS.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (durationMs <= (LATENCY_BOUNDS_MS[middle] ?? 0)) high = middle
    else low = middle + 1
  }
  return low
}

/**
 * The duration that a share `q` (0 to 1) does not exceed, in milliseconds, taking the durations of
 * a bucket to be spread evenly; undefined when nothing was counted. What is beyond the last bound
 * reads as that bound.
 */
export function quantileMs(counts: readonly number[], q: number): number | undefined {
  const total = counts.reduce((sum, count) => sum + count, 0)
  if (total === 0) return undefined
  const wanted = Math.max(1, q * total)
  let before = 0
  for (const [at, count] of counts.entries()) {
    if (before + count >= wanted) {
      const from = LATENCY_BOUNDS_MS[at - 1] ?? 0
      const to = LATENCY_BOUNDS_MS[at] ?? from
      return from + (to - from) * ((wanted - before) / count)
    }
    before += count
  }
  return LATENCY_BOUNDS_MS.at(-1)
}

/** Adds `more` to `counts`, in place. */
export function addCounts(counts: number[], more: readonly number[]): void {
  for (const [at, count] of more.entries()) counts[at] = (counts[at] ?? 0) + count
}
