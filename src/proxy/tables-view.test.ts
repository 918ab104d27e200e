import test from 'ava'
import { manualClock } from '../base/clock.ts'
import { TablesView } from './tables-view.ts'
import { tablesOf, workload } from './testing/world.ts'

const A = workload('a', '10.0.0.1')
const NEVER = new AbortController().signal

test('gives what is known at once', (t) => {
  const view = new TablesView(manualClock())
  view.set(tablesOf(1, { workloads: [A] }))
  t.is(view.workload(A.uid, 1_000, NEVER), A)
})

test('waits for what comes, and no longer than told', async (t) => {
  const clock = manualClock()
  const view = new TablesView(clock)
  const early = view.workload(A.uid, 1_000, NEVER)
  const late = view.workload('nobody', 1_000, NEVER)
  view.set(tablesOf(1, { workloads: [] }))
  view.set(tablesOf(2, { workloads: [A] }))
  t.is(await early, A)
  clock.advance(999)
  t.is(clock.pending, 1)
  clock.advance(1)
  t.is(await late, undefined)
  t.is(clock.pending, 0)
})

test('stops waiting when the connection ends', async (t) => {
  const clock = manualClock()
  const stop = new AbortController()
  const waiting = new TablesView(clock).workload(A.uid, 1_000, stop.signal)
  stop.abort()
  t.is(await waiting, undefined)
  t.is(clock.pending, 0)
})
