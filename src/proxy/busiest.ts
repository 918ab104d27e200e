// Keeps the busiest of many: of everything offered, the `max` with the most, in memory that does
// not grow with how many are offered.

export class Busiest<T> {
  readonly #max: number
  readonly #kept: { readonly value: T; readonly amount: number; readonly at: number }[] = []
  #offered = 0

  constructor(max: number) {
    this.#max = max
  }

  get offered(): number {
    return this.#offered
  }

  offer(value: T, amount: number): void {
    this.#offered++
    if (this.#max === 0) return
    this.#kept.push({ value, amount, at: this.#offered })
    if (this.#kept.length >= this.#max * 2) this.#cut()
  }

  /** Most first; among equals those offered last. */
  get taken(): readonly T[] {
    this.#cut()
    return this.#kept.map(({ value }) => value)
  }

  #cut(): void {
    this.#kept.sort((a, b) => b.amount - a.amount || b.at - a.at)
    this.#kept.length = Math.min(this.#kept.length, this.#max)
  }
}
