// Lets a limited number of tasks run at once; the others wait their turn.

export class Turnstile {
  readonly #limit: number
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Runs `task` at once or when a place is free; rejects only as `task` does. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#limit) await new Promise<void>((go) => this.#waiting.push(go))
    else this.#running++
    try {
      return await task()
    } finally {
      // The place passes to the next in line, so nobody overtakes.
      const next = this.#waiting.shift()
      if (next === undefined) this.#running--
      else next()
    }
  }

  get waiting(): number {
    return this.#waiting.length
  }
}
