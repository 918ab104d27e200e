// One line of the access log: everything that is known of a connection when it ends.
import type { Reason } from './reason.ts'

export type ConnectionPath = 'direct' | 'tunnel' | 'plaintext' | 'passthrough' | 'self'

export interface AccessEntry {
  readonly direction: 'outbound' | 'inbound'
  readonly path: ConnectionPath
  readonly reason: Reason
  readonly detail?: string
  /** Response flag, ztunnel's words. */
  readonly flag: string
  readonly policy?: string
  readonly source: {
    readonly ip: string
    readonly port: number
    readonly workload?: string
    readonly namespace?: string
    /** Set only from a verified identity (mTLS or kernel attestation), never from an address. */
    readonly identity?: string
  }
  readonly destination: {
    readonly ip: string
    readonly port: number
    readonly workload?: string
    readonly namespace?: string
    readonly service?: string
    readonly identity?: string
    /** The endpoint chosen, `ip:port`. */
    readonly endpoint?: string
  }
  /** From the source's point of view. */
  readonly sentBytes: number
  readonly receivedBytes: number
  readonly durationMs: number
  /** Smoothed round trip of a direct connection, microseconds; 0 when unknown. */
  readonly srttUs?: number
  readonly attempts?: number
  readonly version: number
}
