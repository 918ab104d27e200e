import test from 'ava'
import { manualClock } from '../base/clock.ts'
import type { SurveySlice } from '../model/flow.ts'
import { Surveys } from './surveys.ts'

const slice = (forgotten: number, isLast: boolean): SurveySlice => ({
  flows: [],
  connections: [],
  connectionsLeftOut: 0,
  others: undefined,
  forgotten,
  isLast,
})

test('puts together the slices of every worker, and names those that stay silent', async (t) => {
  const clock = manualClock()
  const settle = new Map<number, () => void>()
  const asked: unknown[] = []
  const pool = {
    alive: () => [0, 1, 2],
    ask: (worker: number, message: unknown, answer: string) => {
      asked.push([worker, message, answer])
      return new Promise<void>((resolve) => settle.set(worker, resolve))
    },
  }
  const surveys = new Surveys(() => pool, clock)
  const told = surveys.ask(7)
  const sequence = 1
  surveys.received(0, { kind: 'surveyed', sequence, slice: slice(1, false) })
  surveys.received(0, { kind: 'surveyed', sequence, slice: slice(2, true) })
  settle.get(0)?.()
  // Half an answer is none.
  surveys.received(1, { kind: 'surveyed', sequence, slice: slice(3, false) })
  surveys.received(2, { kind: 'surveyed', sequence: 99, slice: slice(4, true) })
  clock.advance(1_000)
  t.deepEqual(await told, { slices: [slice(1, false), slice(2, true)], silent: [1, 2] })
  const message = { kind: 'survey', sequence, connectionsMax: 7 }
  t.deepEqual(asked[0], [0, message, 'surveyed 1'])
  // Too late: nobody waits for it.
  surveys.received(1, { kind: 'surveyed', sequence, slice: slice(5, true) })
})

test('waits for nobody when all have answered', async (t) => {
  const clock = manualClock()
  const surveys: Surveys = new Surveys(
    () => ({
      alive: () => [0],
      ask: async (_worker: number, _message: unknown, answer: string) => {
        const sequence = Number(answer.split(' ')[1])
        surveys.received(0, { kind: 'surveyed', sequence, slice: slice(sequence, true) })
      },
    }),
    clock,
  )
  t.deepEqual(await surveys.ask(0), { slices: [slice(1, true)], silent: [] })
  t.deepEqual(await surveys.ask(0), { slices: [slice(2, true)], silent: [] })
  t.is(clock.pending, 0)
})
