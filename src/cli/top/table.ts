// Rows as lines of a table that fits: columns shrink, then the least needed leave. Pure.
import { compact, milliseconds, rate } from './figures.ts'
import type { TopRow } from './rows.ts'

export interface Column {
  readonly head: string
  readonly cell: (row: TopRow) => string
  readonly align: 'left' | 'right'
  /** Columns of the lowest need leave first. */
  readonly need: number
  /** A column that may be cut down to so many characters. */
  readonly least?: number
}

const left = (head: string, need: number, least: number, cell: Column['cell']): Column => ({
  head,
  cell,
  align: 'left',
  need,
  least,
})

const right = (head: string, need: number, cell: Column['cell']): Column => ({
  head,
  cell,
  align: 'right',
  need,
})

const COLUMNS: readonly Column[] = [
  left('FROM', 100, 10, (row) => row.from),
  left('TO', 100, 12, (row) => row.to),
  left('AT', 10, 10, (row) => row.at),
  left('PATH', 90, 6, (row) => row.path),
  left('CLIENT ID', 50, 10, (row) => row.client),
  left('SERVER ID', 50, 10, (row) => row.server),
  right('OPEN', 95, (row) => compact(row.open)),
  right('TOTAL', 60, (row) => compact(row.opened)),
  right('OUT B/s', 80, (row) => rate(row.sentRate)),
  right('IN B/s', 80, (row) => rate(row.receivedRate)),
  right('P50 ms', 30, (row) => milliseconds(row.p50Ms)),
  right('P99 ms', 70, (row) => milliseconds(row.p99Ms)),
  left('FAILED', 95, 8, (row) => (row.failed === 0 ? '' : `${compact(row.failed)} ${row.reason}`)),
]

const GAP = '  '
/** Columns of less need leave before any other is cut ... */
const WELCOME = 40
/** ... and those of less need than this before another loses more than a fifth. */
const USEFUL = 60
const FAIR_SHARE = 0.8

/** The head and one line for each row, none longer than `width`. */
export function tableLines(
  rows: readonly TopRow[],
  width: number,
  columns: readonly Column[] = COLUMNS,
): string[] {
  const cells = columns.map((column) => [column.head, ...rows.map((row) => column.cell(row))])
  const fitted = fitInto(columns, cells, width)
  return [undefined, ...rows].map((_, line) => {
    const parts = fitted.map(({ column, index, size }) => {
      const text = cut(cells[index]?.[line] ?? '', size)
      return column.align === 'left' ? text.padEnd(size) : text.padStart(size)
    })
    return cut(parts.join(GAP).trimEnd(), width)
  })
}

interface Fitted {
  readonly column: Column
  readonly index: number
  size: number
}

function fitInto(
  columns: readonly Column[],
  cells: readonly (readonly string[])[],
  width: number,
): readonly Fitted[] {
  let fitted: Fitted[] = columns.map((column, index) => ({
    column,
    index,
    size: Math.max(...(cells[index] ?? []).map((text) => text.length)),
  }))
  // An empty column says nothing.
  fitted = fitted.filter(
    ({ index }) => cells[index]?.length === 1 || cells[index]?.slice(1).some((text) => text !== ''),
  )
  for (;;) {
    const needless = Math.min(...fitted.map(({ column }) => column.need))
    const sizeWanted = sizeOf(fitted.map((each) => ({ size: keptOf(each, needless) })))
    if (fitted.length === 1 || sizeWanted <= width) break
    const last = fitted.findLastIndex(({ column }) => column.need === needless)
    fitted = fitted.toSpliced(last, 1)
  }
  for (let excess = sizeOf(fitted) - width; excess > 0; excess--) {
    const widest = fitted
      .filter(({ column, size }) => size > least(column, size))
      .sort((a, b) => b.size - a.size)[0]
    if (widest === undefined) break
    widest.size--
  }
  return fitted
}

const least = (column: Column, size: number): number => Math.min(size, column.least ?? size)

/** What is to be left of a column for another of that need to stay. */
function keptOf({ column, size }: Fitted, need: number): number {
  if (need < WELCOME) return size
  const hard = least(column, size)
  return need < USEFUL
    ? Math.max(hard, column.least === undefined ? size : Math.ceil(size * FAIR_SHARE))
    : hard
}

const sizeOf = (parts: readonly { readonly size: number }[]): number =>
  parts.reduce((sum, { size }) => sum + size, GAP.length * (parts.length - 1))

/** Names differ at their ends as often as at their beginnings: the middle goes. */
function cut(text: string, size: number): string {
  if (text.length <= size) return text
  if (size <= 3) return text.slice(0, size)
  const head = Math.ceil((size - 1) / 2)
  return `${text.slice(0, head)}~${text.slice(text.length - (size - 1 - head))}`
}
