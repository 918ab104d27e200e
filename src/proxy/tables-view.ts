// The tables in force, and the wait for a workload that is not in them yet.
import type { Clock } from '../base/clock.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'

interface Waiting {
  readonly uid: string
  readonly settle: (workload: TableWorkload | undefined) => void
}

export class TablesView {
  readonly #clock: Clock
  readonly #waiting = new Set<Waiting>()
  #current: Tables | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Undefined before the first tables came. */
  get current(): Tables | undefined {
    return this.#current
  }

  set(tables: Tables): void {
    this.#current = tables
    for (const waiting of this.#waiting) {
      const workload = tables.workloads.get(waiting.uid)
      if (workload !== undefined) waiting.settle(workload)
    }
  }

  /** The workload now, or as soon as it is known; undefined after `timeoutMs` or an abort. */
  workload(
    uid: string,
    timeoutMs: number,
    signal: AbortSignal,
  ): TableWorkload | undefined | Promise<TableWorkload | undefined> {
    const known = this.#current?.workloads.get(uid)
    if (known !== undefined || signal.aborted) return known
    return new Promise((resolve) => {
      const waiting: Waiting = {
        uid,
        settle: (workload) => {
          this.#waiting.delete(waiting)
          timer.cancel()
          signal.removeEventListener('abort', gone)
          resolve(workload)
        },
      }
      const gone = (): void => waiting.settle(undefined)
      const timer = this.#clock.after(timeoutMs, gone)
      signal.addEventListener('abort', gone)
      this.#waiting.add(waiting)
    })
  }
}
