import test from 'ava'
import fc from 'fast-check'
import { addCounts, bucketOf, emptyCounts, LATENCY_BOUNDS_MS, quantileMs } from './histogram.ts'

function countsOf(durations: readonly number[]): number[] {
  const counts = emptyCounts()
  for (const duration of durations) {
    const bucket = bucketOf(duration)
    counts[bucket] = (counts[bucket] ?? 0) + 1
  }
  return counts
}

test('a duration belongs to the first bucket whose bound it does not exceed', (t) => {
  for (const [duration, bucket] of [
    [0, 0],
    [0.1, 0],
    [0.1001, 1],
    [1, 5],
    [1.01, 6],
    [10_000, 25],
    [10_001, 26],
    [Number.POSITIVE_INFINITY, 26],
  ] as const) {
    t.is(bucketOf(duration), bucket, `${duration}`)
  }
  t.is(emptyCounts().length, LATENCY_BOUNDS_MS.length + 1)
})

test('nothing counted has no quantile; what is too long reads as the last bound', (t) => {
  t.is(quantileMs(emptyCounts(), 0.5), undefined)
  t.is(quantileMs(countsOf([60_000]), 0.5), 10_000)
})

test('quantiles are within a bucket of the exact ones, and never fall as q grows', (t) => {
  const durations = fc.array(fc.double({ min: 0.2, max: 9_000, noNaN: true }), { minLength: 1 })
  t.notThrows(() =>
    fc.assert(
      fc.property(durations, (given) => {
        const counts = countsOf(given)
        const sorted = [...given].sort((a, b) => a - b)
        const read = [0.01, 0.5, 0.9, 0.99, 1].map((q) => quantileMs(counts, q) ?? Number.NaN)
        const exact = [0.01, 0.5, 0.9, 0.99, 1].map(
          (q) => sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN,
        )
        const close = read.every((value, at) => {
          const bucket = bucketOf(exact[at] ?? 0)
          const low = LATENCY_BOUNDS_MS[bucket - 1] ?? 0
          return value >= low && value <= (LATENCY_BOUNDS_MS[bucket] ?? Number.POSITIVE_INFINITY)
        })
        return close && read.every((value, at) => at === 0 || value >= (read[at - 1] ?? 0))
      }),
    ),
  )
})

test('counts of two parts are those of the whole', (t) => {
  const counts = countsOf([0.05, 3, 3])
  addCounts(counts, countsOf([3, 20_000]))
  t.deepEqual(counts, countsOf([0.05, 3, 3, 3, 20_000]))
})
