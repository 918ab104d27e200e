// The notebook of one connection: the pipeline writes down what it learns, `live` finds in it what
// was judged, and the report reads it once at the end.
import type { ConnectionPath } from '../model/access-entry.ts'
import type { ConnectionFacts } from '../model/facts.ts'
import type { LocalPod } from '../model/messages.ts'
import type { Reason } from '../model/reason.ts'
import type { TableWorkload } from '../model/tables.ts'
import type { FlowAccount } from '../telemetry/flow-table.ts'
import type { Stop } from './stream/byte-stream.ts'
import type { Moved } from './stream/relay.ts'

export interface Address {
  readonly ip: string
  readonly port: number
}

/** A workload as the access log names it; its name may be unknown where its identity is not. */
export interface Named {
  readonly name?: string
  readonly namespace: string
}

export interface Judged {
  /** uid of the destination workload. */
  readonly workload: string
  readonly facts: ConnectionFacts
  /** Version of the tables it was judged by. */
  readonly version: number
}

export class Connection {
  readonly direction: 'outbound' | 'inbound'
  /** The workload of this node; the node itself until it is known which of those on its network. */
  pod: LocalPod
  readonly source: Address
  readonly startedMs: number
  /** By the clock for short durations; NaN when nobody looked. */
  readonly acceptedAtMs: number
  path: ConnectionPath
  destination: Address
  sourceWorkload: Named | TableWorkload | undefined
  /** Only from a verified identity. */
  sourceIdentity: string | undefined
  destinationWorkload: Named | TableWorkload | undefined
  destinationIdentity: string | undefined
  service: string | undefined
  endpoint: string | undefined
  policy: string | undefined
  attempts = 0
  version = 0
  judged: Judged | undefined
  /** How far the relay has come, once there is one. */
  moved: Moved | undefined
  /** Where it is counted, and what of its bytes has been, once both ends are there. */
  account: FlowAccount | undefined
  countedSentBytes = 0
  countedReceivedBytes = 0
  readonly #stop = new AbortController()

  constructor(
    direction: 'outbound' | 'inbound',
    path: ConnectionPath,
    pod: LocalPod,
    ends: { readonly source: Address; readonly destination: Address },
    startedMs: number,
    acceptedAtMs = Number.NaN,
  ) {
    this.direction = direction
    this.path = path
    this.pod = pod
    this.source = ends.source
    this.destination = ends.destination
    this.startedMs = startedMs
    this.acceptedAtMs = acceptedAtMs
  }

  /** Aborts with a `Stop` when the connection must end. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** Ends it, whatever it is doing; the first reason counts. */
  stop(reason: Reason, detail?: string): void {
    if (this.#stop.signal.aborted) return
    const stop: Stop = detail === undefined ? { reason } : { reason, detail }
    this.#stop.abort(stop)
  }
}
