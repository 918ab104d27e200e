// Where certificates come from: the port between the keeper and an authority, embedded or remote.
import type { SpiffeId } from '../../model/spiffe-id.ts'

export interface IssuedCertificate {
  readonly id: SpiffeId
  /** Leaf first, then intermediates; no root. */
  readonly certificateChainPem: string
  /** PKCS #8. Owned by the receiver. */
  readonly keyPem: ArrayBuffer
  /** Every root that peers' chains may end at; at least one. */
  readonly rootsPem: readonly string[]
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

export interface CertificateSource {
  /** Makes a key and a certificate for it. Rejects with `MeshError`; may be asked again. */
  issue(id: SpiffeId, ttlMs: number): Promise<IssuedCertificate>
}
