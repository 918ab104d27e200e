// The tables in force, and the wait for a workload that is not in them yet.
import type { Clock } from '../base/clock.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'
import { Waitlist } from './waitlist.ts'

export class TablesView {
  readonly #waiting: Waitlist<TableWorkload>
  #current: Tables | undefined

  constructor(clock: Clock) {
    this.#waiting = new Waitlist(clock)
  }

  /** Undefined before the first tables came. */
  get current(): Tables | undefined {
    return this.#current
  }

  set(tables: Tables): void {
    this.#current = tables
    this.#waiting.look()
  }

  /** The workload now, or as soon as it is known; undefined after `timeoutMs` or an abort. */
  workload(
    uid: string,
    timeoutMs: number,
    signal: AbortSignal,
  ): TableWorkload | undefined | Promise<TableWorkload | undefined> {
    return this.#waiting.wait(() => this.#current?.workloads.get(uid), timeoutMs, signal)
  }
}
