// What is known of a connection when it is judged. Absent and invalid are different values, and
// neither is ever "allowed".
import type { Reason } from './reason.ts'
import type { SpiffeId } from './spiffe-id.ts'

export type PeerIdentity =
  | { readonly kind: 'verified'; readonly id: SpiffeId; readonly by: 'mtls' | 'kernel' }
  | { readonly kind: 'absent'; readonly reason: 'plaintext' | 'outside-mesh' }
  | { readonly kind: 'invalid'; readonly reason: string }

export interface ConnectionFacts {
  readonly peer: PeerIdentity
  /** Canonical IP of the TCP peer. */
  readonly sourceIp: string
  /** Canonical IP of the destination workload. */
  readonly destinationIp: string
  /** The real target port at the workload, never the service's port. */
  readonly destinationPort: number
}

/** `by` names the policy (`namespace/name`), or says why none was needed or none matched. */
export type Verdict =
  | { readonly kind: 'allow'; readonly by: string | 'no-policy' }
  | { readonly kind: 'deny'; readonly reason: Reason; readonly by: string | 'no-allow-matched' }
  | { readonly kind: 'undecided'; readonly needs: 'request' | 'token' | 'external' }

/** How a connection ended; reported exactly once. */
export interface Ending {
  readonly reason: Reason
  /** The policy, or an errno or TLS alert text. Never bytes of the connection. */
  readonly detail?: string
  readonly sentBytes: number
  readonly receivedBytes: number
}
