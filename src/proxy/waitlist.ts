// Those who wait for something that is about to become known: a workload the tables do not hold
// yet, or one that shares the node's network and was not announced yet.
import type { Clock } from '../base/clock.ts'

interface Waiting<V> {
  readonly find: () => V | undefined
  readonly settle: (found: V | undefined) => void
}

export class Waitlist<V> {
  readonly #clock: Clock
  readonly #waiting = new Set<Waiting<V>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** What `find` finds now, or as soon as it does; undefined after `timeoutMs` or an abort. */
  wait(
    find: () => V | undefined,
    timeoutMs: number,
    signal: AbortSignal,
  ): V | undefined | Promise<V | undefined> {
    const known = find()
    if (known !== undefined || signal.aborted) return known
    return new Promise((resolve) => {
      const gone = (): void => waiting.settle(undefined)
      const timer = this.#clock.after(timeoutMs, gone)
      const waiting: Waiting<V> = {
        find,
        settle: (found) => {
          this.#waiting.delete(waiting)
          timer.cancel()
          signal.removeEventListener('abort', gone)
          resolve(found)
        },
      }
      signal.addEventListener('abort', gone)
      this.#waiting.add(waiting)
    })
  }

  /** To be called when more is known. */
  look(): void {
    for (const waiting of [...this.#waiting]) {
      const found = waiting.find()
      if (found !== undefined) waiting.settle(found)
    }
  }
}
