// Who talks to whom: what the data plane counts for each pair of workloads, and what it tells of a
// connection that is open. `sent` and `received` are the source's.
import type { ConnectionPath } from './access-entry.ts'
import type { Reason } from './reason.ts'

export interface FlowEnd {
  /** Of a workload the mesh knows; only then have `workload` and `namespace` values to rely on. */
  readonly uid?: string
  readonly workload?: string
  readonly namespace?: string
  /** Only of an end that is no known workload. */
  readonly ip?: string
  /** Verified by mutual TLS or attested by the kernel, never guessed from an address. */
  readonly identity?: string
}

export interface FlowTarget extends FlowEnd {
  /** What was asked for: the service's port, or the workload's own. */
  readonly port: number
  /** Hostname of the service that was called. */
  readonly service?: string
}

/** What connections have in common that are counted together. */
export interface FlowLabels {
  readonly direction: 'outbound' | 'inbound'
  readonly path: ConnectionPath
  readonly source: FlowEnd
  readonly destination: FlowTarget
}

export interface FlowCounts {
  readonly opened: number
  readonly open: number
  /** Connections that did not end cleanly, or never came to be, by reason. */
  readonly failed: Readonly<Partial<Record<Reason, number>>>
  /** Connections that are open included, as far as they had come when they were looked at. */
  readonly sentBytes: number
  readonly receivedBytes: number
  /** From accept until the other end was ready, buckets of `LATENCY_BOUNDS_MS`. */
  readonly latency: readonly number[]
}

export interface FlowRow extends FlowLabels, FlowCounts {}

/** A connection that is open. */
export interface LiveRow extends FlowLabels {
  readonly sourceAddress: string
  /** The endpoint chosen, or what was asked for. */
  readonly destinationAddress: string
  readonly sentBytes: number
  readonly receivedBytes: number
  readonly ageMs: number
}

/** A part of what one worker knows; the parts together are everything. */
export interface SurveySlice {
  readonly flows: readonly FlowRow[]
  /** The busiest since the last survey. */
  readonly connections: readonly LiveRow[]
  /** Open connections that `connections` leaves out. */
  readonly connectionsLeftOut: number
  /** Connections that found no room in the table of flows, together. */
  readonly others: FlowCounts | undefined
  /** Flows that were forgotten because nothing of them was open and others needed the room. */
  readonly forgotten: number
  readonly isLast: boolean
}
