import test from 'ava'
import type { FlowLabels } from '../model/flow.ts'
import { FlowTable } from './flow-table.ts'

const labels = (name: string): FlowLabels => ({
  direction: 'outbound',
  path: 'tunnel',
  source: { uid: 'a', workload: 'a', namespace: 'default' },
  destination: { uid: name, workload: name, namespace: 'default', port: 80 },
})

const tableOf = (named: number, addresses = 1) => new FlowTable({ named, addresses })

const take = (table: FlowTable, name: string, nowMs: number, isNamed = true) =>
  table.account(name, isNamed, nowMs, () => labels(name))

const names = (table: FlowTable) => [...table.rows()].map(({ destination }) => destination.workload)

test('an account counts what opened, what is open, what failed and why', (t) => {
  const table = tableOf(4)
  const account = take(table, 'b', 0)
  account.begin(0.5)
  account.begin(0.5)
  account.begin(undefined)
  account.moved(10, 20)
  account.end('completed')
  account.end('upstream-reset')
  account.refuse('policy-denied')
  account.refuse('policy-denied')
  t.is(take(table, 'b', 1), account)
  const [row] = [...table.rows()]
  t.like(row, {
    ...labels('b'),
    opened: 5,
    open: 1,
    failed: { 'upstream-reset': 1, 'policy-denied': 2 },
    sentBytes: 10,
    receivedBytes: 20,
  })
  t.is(
    row?.latency.reduce((sum, count) => sum + count, 0),
    2,
  )
  account.refuse('internal')
  t.is(row?.failed.internal, undefined, 'a row is a copy')
})

test('a full table forgets what nothing is open of, longest unused first', (t) => {
  const table = tableOf(4)
  for (const [at, name] of ['b', 'c', 'd', 'e'].entries()) take(table, name, at).refuse('internal')
  take(table, 'c', 1).begin(1)
  take(table, 'b', 10)
  take(table, 'f', 11)
  t.deepEqual(names(table), ['b', 'c', 'e', 'f'])
  t.is(table.forgotten, 1)
  t.is(table.others.opened, 0)
})

test('when everything is open, the rest is counted together', (t) => {
  const table = tableOf(2)
  for (const name of ['b', 'c', 'd', 'e']) {
    const account = take(table, name, 0)
    account.begin(1)
    account.moved(1, 2)
  }
  t.deepEqual(names(table), ['b', 'c'])
  t.like(table.others, { opened: 2, open: 2, sentBytes: 2, receivedBytes: 4 })
  t.is(table.size, 2)
})

test('addresses never take the room of workloads', (t) => {
  const table = tableOf(2, 2)
  take(table, 'b', 0)
  for (let at = 0; at < 50; at++) take(table, `10.0.0.${at}`, at, false).refuse('connect-failed')
  t.true(names(table).includes('b'))
  t.is(table.size, 3)
  t.is(table.forgotten, 48)
})
