// The cells of the data plane and the few operations that change them.
import { CellBoard, type CellRow, type CellSpec } from '../base/cells.ts'
import type { AccessEntry } from '../model/access-entry.ts'
import { REASONS } from '../model/reason.ts'
import { DNS_CELLS } from './dns-cells.ts'

const DIRECTIONS = ['outbound', 'inbound'] as const
type Direction = (typeof DIRECTIONS)[number]

/** Response flags of L4, each once. */
const FLAGS: readonly string[] = [...new Set(Object.values(REASONS).map((info) => info.flagL4))]

export const PROXY_CELLS: readonly CellSpec[] = [
  ...DIRECTIONS.flatMap((direction): CellSpec[] => [
    { name: `connections_active.${direction}`, kind: 'gauge' },
    { name: `connections_opened.${direction}`, kind: 'counter' },
    { name: `bytes_sent.${direction}`, kind: 'counter' },
    { name: `bytes_received.${direction}`, kind: 'counter' },
    { name: `sessions.${direction}`, kind: 'gauge' },
    ...FLAGS.map(
      (flag): CellSpec => ({
        name: `connections_closed.${direction}.${flag}`,
        kind: 'counter',
      }),
    ),
  ]),
  ...DNS_CELLS,
]

export function proxyBoard(rows: number, buffer?: SharedArrayBuffer): CellBoard {
  return new CellBoard(PROXY_CELLS, rows, buffer)
}

/** Counts for one worker. Bytes are added when a connection ends. */
export class ProxyMeter {
  readonly #row: CellRow
  readonly #cells: Readonly<Record<Direction, DirectionCells>>

  constructor(board: CellBoard, row: number) {
    this.#row = board.row(row)
    this.#cells = { outbound: cellsOf(board, 'outbound'), inbound: cellsOf(board, 'inbound') }
  }

  opened(direction: Direction): void {
    this.#row.add(this.#cells[direction].opened, 1)
    this.#row.add(this.#cells[direction].active, 1)
  }

  closed(entry: AccessEntry): void {
    const cells = this.#cells[entry.direction]
    this.#row.add(cells.active, -1)
    this.#row.add(cells.sent, entry.sentBytes)
    this.#row.add(cells.received, entry.receivedBytes)
    const flag = cells.flags.get(entry.flag)
    if (flag !== undefined) this.#row.add(flag, 1)
  }

  sessions(direction: Direction, by: number): void {
    this.#row.add(this.#cells[direction].sessions, by)
  }

  active(direction: Direction): number {
    return this.#row.get(this.#cells[direction].active)
  }
}

interface DirectionCells {
  readonly active: number
  readonly opened: number
  readonly sent: number
  readonly received: number
  readonly sessions: number
  readonly flags: ReadonlyMap<string, number>
}

function cellsOf(board: CellBoard, direction: Direction): DirectionCells {
  return {
    active: board.cell(`connections_active.${direction}`),
    opened: board.cell(`connections_opened.${direction}`),
    sent: board.cell(`bytes_sent.${direction}`),
    received: board.cell(`bytes_received.${direction}`),
    sessions: board.cell(`sessions.${direction}`),
    flags: new Map(
      FLAGS.map((flag) => [flag, board.cell(`connections_closed.${direction}.${flag}`)]),
    ),
  }
}
