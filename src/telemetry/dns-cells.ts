// The cells of DNS: what became of questions.
import type { CellBoard, CellRow, CellSpec } from '../base/cells.ts'

/**
 * `questions`: by UDP and TCP, not to be read ones too. `answered`: of the mesh's own names.
 * `forwarded`: sent to a resolver by UDP; `relayed`: by TCP. `cached`: answered by what a resolver
 * said before. `refused`: no resolver there, or one that may not be asked, SERVFAIL. `silent`: the
 * resolver never answered. `dropped`: gave way to newer questions. `malformed`: FORMERR, or ignored.
 * `stray`: datagrams of resolvers that answer no question. `foreign`: not the workload's own.
 * `unclaimed`: nobody knows which resolver was asked. `unready`: the workload is not known yet.
 * `unsent`: answers that could not be sent.
 */
const COUNTS = [
  'questions',
  'answered',
  'forwarded',
  'relayed',
  'cached',
  'refused',
  'silent',
  'dropped',
  'malformed',
  'stray',
  'foreign',
  'unclaimed',
  'unready',
  'unsent',
] as const

export type DnsCount = (typeof COUNTS)[number]

export const DNS_CELLS: readonly CellSpec[] = [
  ...COUNTS.map((name): CellSpec => ({ name: `dns.${name}`, kind: 'counter' })),
  { name: 'dns.in_flight', kind: 'gauge' },
]

/** Counts for one worker. */
export class DnsMeter {
  readonly #row: CellRow
  readonly #cells: ReadonlyMap<DnsCount, number>
  readonly #inFlight: number

  constructor(board: CellBoard, row: number) {
    this.#row = board.row(row)
    this.#cells = new Map(COUNTS.map((name) => [name, board.cell(`dns.${name}`)]))
    this.#inFlight = board.cell('dns.in_flight')
  }

  count(what: DnsCount): void {
    this.#row.add(this.#cells.get(what) ?? 0, 1)
  }

  /** Questions on their way to resolvers. */
  inFlight(by: number): void {
    this.#row.add(this.#inFlight, by)
  }
}
