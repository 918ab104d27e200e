// Picks one of several items at random in proportion to their weights.
import type { Random } from '../base/random.ts'

/** Items with a positive weight, ready to be picked from. Immutable. */
export interface WeightedChoice<T> {
  readonly items: readonly T[]
  /** Sum of the weights up to and including each item. */
  readonly cumulative: readonly number[]
}

/** Items of weight 0 are never picked. A weight that is negative or no number counts as 0. */
export function weightedChoice<T>(
  items: Iterable<T>,
  weightOf: (item: T) => number,
): WeightedChoice<T> {
  const kept: T[] = []
  const cumulative: number[] = []
  let sum = 0
  for (const item of items) {
    const weight = weightOf(item)
    if (!(weight > 0)) continue
    sum += weight
    kept.push(item)
    cumulative.push(sum)
  }
  return { items: kept, cumulative }
}

/** Undefined when nothing can be picked. Costs the logarithm of the number of items. */
export function pickWeighted<T>(choice: WeightedChoice<T>, random: Random): T | undefined {
  const { items, cumulative } = choice
  const total = cumulative.at(-1)
  if (total === undefined) return undefined
  const point = random() * total
  let low = 0
  let high = cumulative.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if ((cumulative[middle] ?? 0) > point) high = middle
    else low = middle + 1
  }
  return items[low]
}

/** As `pickWeighted` among the items that `usable` admits; costs their number. */
export function pickWeightedAmong<T>(
  choice: WeightedChoice<T>,
  usable: (item: T) => boolean,
  random: Random,
): T | undefined {
  const weights = new Map<T, number>()
  for (const [at, item] of choice.items.entries()) {
    if (!usable(item)) continue
    weights.set(item, (choice.cumulative[at] ?? 0) - (choice.cumulative[at - 1] ?? 0))
  }
  return pickWeighted(
    weightedChoice(weights.keys(), (item) => weights.get(item) ?? 0),
    random,
  )
}
