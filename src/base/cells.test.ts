import { Worker } from 'node:worker_threads'
import test from 'ava'
import { CellBoard, type CellSpec } from './cells.ts'

const SPECS: readonly CellSpec[] = [
  { name: 'opened', kind: 'counter' },
  { name: 'active', kind: 'gauge' },
]

test('adds up what its rows hold', (t) => {
  const board = new CellBoard(SPECS, 3)
  for (const row of [0, 1, 2]) board.row(row).add(board.cell('opened'), row + 1)
  board.row(1).add(board.cell('active'), 5)
  board.row(1).add(board.cell('active'), -2)
  t.deepEqual(board.totals(), { opened: 6, active: 3 })
  t.is(board.row(1).get(board.cell('active')), 3)
})

test('a row that is retired leaves its counts and takes its gauges', (t) => {
  const board = new CellBoard(SPECS, 2)
  for (let life = 0; life < 3; life++) {
    board.row(0).add(board.cell('opened'), 10)
    board.row(0).add(board.cell('active'), 4)
    board.retire(0)
  }
  board.row(1).add(board.cell('active'), 1)
  t.deepEqual(board.totals(), { opened: 30, active: 1 })
  t.is(board.row(0).get(board.cell('opened')), 0)
})

test('refuses names, rows and buffers that are not its own', (t) => {
  const board = new CellBoard(SPECS, 2)
  t.throws(() => board.cell('other'), { message: /no cell named other/ })
  t.throws(() => board.row(2), { message: /no row 2/ })
  t.throws(() => new CellBoard(SPECS, 3, board.buffer), { message: /bytes/ })
})

test('is shared with another thread', async (t) => {
  const board = new CellBoard(SPECS, 1)
  const code = `
    const { workerData } = require('node:worker_threads')
    import(workerData.module).then(({ CellBoard }) => {
      const board = new CellBoard(workerData.specs, 1, workerData.buffer)
      for (let at = 0; at < 1000; at++) board.row(0).add(board.cell('opened'), 1)
    })`
  const module = new URL('./cells.ts', import.meta.url).href
  const workerData = { module, specs: SPECS, buffer: board.buffer }
  await new Promise((resolve, reject) => {
    new Worker(code, { eval: true, workerData }).on('exit', resolve).on('error', reject)
  })
  t.is(board.total('opened'), 1_000)
})
