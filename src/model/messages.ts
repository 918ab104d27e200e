// What the main thread and the data-plane workers tell each other. Flat data; nothing is cloned
// whole. Descriptors are numbers: threads of one process share them.
import type { SurveySlice } from './flow.ts'
import type { Reason } from './reason.ts'
import type { TablesPatch } from './tables.ts'

/** Listening TCP sockets. */
export type StreamClass = 'outbound' | 'plaintext' | 'hbone'

/**
 * UDP sockets, one for each resolver that a client's socket may ask at once: the one a question
 * arrives at tells which resolver it is for.
 */
export type DnsClass = 'dns0' | 'dns1' | 'dns2'

export type ListenerClass = StreamClass | DnsClass

/**
 * A workload of this node whose sockets this worker serves; or the node itself, `NODE_UID`, whose
 * listeners take the connections of every host-network workload.
 */
export interface LocalPod {
  readonly uid: string
  /** A /proc/PID/ns/net descriptor, owned by main and open while the pod is known. */
  readonly namespaceFd: number
  /** Cookie of that namespace. */
  readonly netnsCookie: bigint
  readonly addresses: readonly string[]
  /** The kernel's number of the workload; 0 for the node. */
  readonly number: number
  /** It shares the node's namespace and address. Its own listeners are those of DNS only. */
  readonly hostNetwork: boolean
}

/** The uid under which the node's own listeners are served. No workload has it. */
export const NODE_UID = '#node'

export interface ListenerHandle {
  readonly class: ListenerClass
  readonly fd: number
}

/** A certificate for one identity. `keyPem` is transferred, and zeroed by the receiver. */
export interface IdentityMaterial {
  readonly id: string
  readonly certificateChainPem: string
  readonly keyPem: ArrayBuffer
  readonly rootsPem: readonly string[]
  readonly notAfterMs: number
  /** Increases with every replacement. */
  readonly serial: number
}

export type ToWorker =
  | { readonly kind: 'patch'; readonly patch: TablesPatch }
  | {
      readonly kind: 'listen'
      readonly pod: LocalPod
      readonly listeners: readonly ListenerHandle[]
    }
  /** Stops accepting for the pod and ends its connections with `reason`. Acknowledged. */
  | { readonly kind: 'unlisten'; readonly uid: string; readonly reason: Reason }
  /** Accepts what is queued on listeners of a worker that died, then forgets them. */
  | {
      readonly kind: 'drain-backlog'
      readonly pod: LocalPod
      readonly listeners: readonly ListenerHandle[]
    }
  | { readonly kind: 'identity'; readonly material: IdentityMaterial }
  | { readonly kind: 'forget-identity'; readonly id: string }
  /** Judges live connections again under the current tables; answered when done. */
  | { readonly kind: 'recheck'; readonly sequence: number }
  /** Asks for the flows, and for at most so many open connections. Answered in slices. */
  | { readonly kind: 'survey'; readonly sequence: number; readonly connectionsMax: number }
  | { readonly kind: 'drain'; readonly deadlineMs: number }
  | { readonly kind: 'stop' }

export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'applied'; readonly version: number }
  | { readonly kind: 'listening'; readonly uid: string }
  | { readonly kind: 'unlistened'; readonly uid: string }
  | { readonly kind: 'backlog-drained'; readonly uid: string }
  | { readonly kind: 'identity-held'; readonly id: string; readonly serial: number }
  | { readonly kind: 'rechecked'; readonly sequence: number; readonly ended: number }
  | { readonly kind: 'surveyed'; readonly sequence: number; readonly slice: SurveySlice }
  | { readonly kind: 'drained'; readonly open: number }
  | {
      readonly kind: 'log'
      readonly level: 'error' | 'warn' | 'info' | 'debug'
      readonly event: string
      readonly fields: Readonly<Record<string, unknown>>
    }
