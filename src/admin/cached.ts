// An answer that is made at most once in a while, however many ask: who asks while it is made, or
// soon after, gets the same.
import type { Clock } from '../base/clock.ts'

export class Cached<T> {
  readonly #make: () => Promise<T>
  readonly #clock: Pick<Clock, 'elapsedMs'>
  readonly #keepMs: number
  #held: Promise<T> | undefined
  #untilMs = 0

  constructor(make: () => Promise<T>, clock: Pick<Clock, 'elapsedMs'>, keepMs: number) {
    this.#make = make
    this.#clock = clock
    this.#keepMs = keepMs
  }

  get(): Promise<T> {
    if (this.#held !== undefined && this.#clock.elapsedMs() < this.#untilMs) return this.#held
    // While it is being made nobody makes another, however long that takes.
    this.#untilMs = Number.POSITIVE_INFINITY
    const made = this.#make()
    this.#held = made
    const keep = (): void => {
      this.#untilMs = this.#clock.elapsedMs() + this.#keepMs
    }
    made.then(keep, () => {
      // A failure is told to those who waited, and the next one tries again.
      this.#untilMs = 0
    })
    return made
  }
}
