import test from 'ava'
import fc from 'fast-check'
import { seededRandom } from '../base/random.ts'
import { pickWeighted, pickWeightedAmong, weightedChoice } from './weighted.ts'

const SEED = 20_261_120

test('picks nothing from nothing, and nothing of weight 0', (t) => {
  t.is(
    pickWeighted(
      weightedChoice([], () => 1),
      seededRandom(1),
    ),
    undefined,
  )
  for (const weight of [0, -1, Number.NaN]) {
    t.is(
      pickWeighted(
        weightedChoice(['a'], () => weight),
        seededRandom(1),
      ),
      undefined,
    )
  }
})

test('picks in proportion to the weights', (t) => {
  const weights: Record<string, number> = { a: 1, b: 2, c: 0, d: 5 }
  const choice = weightedChoice(Object.keys(weights), (item) => weights[item] ?? 0)
  const random = seededRandom(SEED)
  const counts: Record<string, number> = {}
  const rounds = 80_000
  for (let round = 0; round < rounds; round++) {
    const item = pickWeighted(choice, random) ?? 'none'
    counts[item] = (counts[item] ?? 0) + 1
  }
  t.deepEqual(Object.keys(counts).sort(), ['a', 'b', 'd'])
  for (const item of ['a', 'b', 'd']) {
    const share = (counts[item] ?? 0) / rounds
    t.true(Math.abs(share - (weights[item] ?? 0) / 8) < 0.01, `${item}: ${share}`)
  }
})

test(`picks only what is usable, whenever anything is (seed ${SEED})`, (t) => {
  const items = fc.array(fc.record({ weight: fc.nat(5), usable: fc.boolean() }), { maxLength: 20 })
  fc.assert(
    fc.property(items, fc.nat(), (list, seed) => {
      const choice = weightedChoice(list, ({ weight }) => weight)
      const picked = pickWeightedAmong(choice, ({ usable }) => usable, seededRandom(seed))
      const possible = list.filter(({ weight, usable }) => usable && weight > 0)
      t.is(picked === undefined, possible.length === 0)
      if (picked !== undefined) t.true(possible.includes(picked))
    }),
    { seed: SEED },
  )
})

test('never falls off the end, whatever the random number', (t) => {
  const choice = weightedChoice(['a', 'b', 'c'], () => 0.1)
  for (const point of [0, 0.333_333, 0.666_667, 1 - Number.EPSILON / 2]) {
    t.not(
      pickWeighted(choice, () => point),
      undefined,
    )
  }
  t.is(
    pickWeighted(choice, () => 0),
    'a',
  )
})
