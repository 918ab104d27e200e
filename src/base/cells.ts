// Numbers shared by threads: counters and gauges in one SharedArrayBuffer. Every row has one writer
// (a worker), so adding needs no atomic operation (about 2 ns); readers add the rows up. A double
// is written in one piece on the processors Weft runs on, so a reader never sees half of one.

export interface CellSpec {
  readonly name: string
  /** A counter only grows; a gauge is a present amount and vanishes with its worker. */
  readonly kind: 'counter' | 'gauge'
}

/** The cells of one writer. */
export interface CellRow {
  add(cell: number, by: number): void
  get(cell: number): number
}

export class CellBoard {
  readonly specs: readonly CellSpec[]
  readonly buffer: SharedArrayBuffer
  readonly #values: Float64Array
  readonly #index: ReadonlyMap<string, number>
  readonly #rows: number

  /** `buffer` comes from the thread that made the board; without it a new one is made. One row
   * more than `rows` holds what retired rows had counted. */
  constructor(specs: readonly CellSpec[], rows: number, buffer?: SharedArrayBuffer) {
    const bytes = specs.length * (rows + 1) * Float64Array.BYTES_PER_ELEMENT
    if (buffer !== undefined && buffer.byteLength !== bytes) {
      throw new RangeError(`cells: buffer of ${buffer.byteLength} bytes where ${bytes} are needed`)
    }
    this.specs = specs
    this.buffer = buffer ?? new SharedArrayBuffer(bytes)
    this.#values = new Float64Array(this.buffer)
    this.#index = new Map(specs.map((spec, at) => [spec.name, at]))
    this.#rows = rows
  }

  /** The number of a cell, for `CellRow`. Throws on a name that is not on the board. */
  cell(name: string): number {
    const at = this.#index.get(name)
    if (at === undefined) throw new RangeError(`cells: no cell named ${name}`)
    return at
  }

  /** Exactly one thread may write to a row. */
  row(row: number): CellRow {
    if (row < 0 || row >= this.#rows) throw new RangeError(`cells: no row ${row}`)
    const from = row * this.specs.length
    const values = this.#values.subarray(from, from + this.specs.length)
    return {
      add(cell, by) {
        values[cell] = (values[cell] ?? 0) + by
      },
      get: (cell) => values[cell] ?? 0,
    }
  }

  total(name: string): number {
    const cell = this.cell(name)
    let sum = 0
    for (let row = 0; row <= this.#rows; row++) {
      sum += this.#values[row * this.specs.length + cell] ?? 0
    }
    return sum
  }

  totals(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.specs.map((spec) => [spec.name, this.total(spec.name)]))
  }

  /** A writer died: what it counted stays, what it held is gone. The row may be given anew. */
  retire(row: number): void {
    const from = row * this.specs.length
    const kept = this.#rows * this.specs.length
    for (const [at, spec] of this.specs.entries()) {
      const value = this.#values[from + at] ?? 0
      if (spec.kind === 'counter') this.#values[kept + at] = (this.#values[kept + at] ?? 0) + value
      this.#values[from + at] = 0
    }
  }
}
