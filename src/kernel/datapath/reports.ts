// Reads what the programs report of direct connections, for whoever wants to know.
import type { Log } from '../../base/log.ts'
import type { AccessEntry } from '../../model/access-entry.ts'
import type { BpfMap, Kernel, RingReader } from '../kernel.ts'
import { entryOf } from './events.ts'

export class Reports {
  readonly #parts: { readonly kernel: Kernel; readonly log: Log }
  readonly #handlers: ((entry: AccessEntry) => void)[] = []
  #ring: RingReader | undefined

  constructor(parts: { readonly kernel: Kernel; readonly log: Log }) {
    this.#parts = parts
  }

  subscribe(handler: (entry: AccessEntry) => void): void {
    this.#handlers.push(handler)
  }

  start(events: BpfMap, uidOf: (workload: number) => string | undefined): void {
    this.#ring = this.#parts.kernel.readRing(events, (record) => {
      const entry = entryOf(record, uidOf)
      if (entry !== undefined) for (const handler of this.#handlers) handler(entry)
      else this.#parts.log.warn('datapath.unknown-event', { bytes: record.length })
    })
  }

  stop(): void {
    this.#ring?.stop()
    this.#ring = undefined
  }
}
