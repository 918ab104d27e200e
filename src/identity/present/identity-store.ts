// The certificates a worker presents: one TLS context per identity, replaced as they are renewed.
import { createSecureContext, type SecureContext } from 'node:tls'
import { errorText, MeshError } from '../../base/mesh-error.ts'
import type { IdentityMaterial } from '../../model/messages.ts'
import { parseSpiffeId, type SpiffeId } from '../../model/spiffe-id.ts'
import { anonymousOptions, contextOptions } from './tls-options.ts'

export interface WorkloadIdentity {
  readonly id: SpiffeId
  readonly serial: number
  readonly notAfterMs: number
  /** For both ends; see `clientTlsOptions` and `serverTlsOptions`. */
  readonly context: SecureContext
  readonly rootsPem: readonly string[]
}

/** `previous` is undefined for the first; connections made with it should retire. */
export type ReplacedHandler = (
  current: WorkloadIdentity,
  previous: WorkloadIdentity | undefined,
) => void

export class IdentityStore {
  readonly #identities = new Map<string, WorkloadIdentity>()
  readonly #handlers = new Set<ReplacedHandler>()
  #anonymous: SecureContext | undefined

  /** A context without a certificate, for servers where a client must say whom it wants. */
  get anonymous(): SecureContext {
    this.#anonymous ??= createSecureContext(anonymousOptions())
    return this.#anonymous
  }

  /**
   * Takes the key: its buffer is zeroed, whatever comes of it. Material older than what is held is
   * ignored. Throws `MeshError('identity.context')` for material that OpenSSL cannot use; what was
   * held stays.
   */
  set(material: IdentityMaterial): void {
    const previous = this.#identities.get(material.id)
    try {
      if (previous !== undefined && previous.serial >= material.serial) return
      const current = toIdentity(material)
      this.#identities.set(material.id, current)
      for (const handler of this.#handlers) handler(current, previous)
    } finally {
      new Uint8Array(material.keyPem).fill(0)
    }
  }

  /** The newest certificate, which may have expired: `notAfterMs` says when. */
  get(id: string): WorkloadIdentity | undefined {
    return this.#identities.get(id)
  }

  forget(id: string): void {
    this.#identities.delete(id)
  }

  /** Returns how to stop being told. */
  onReplaced(handler: ReplacedHandler): () => void {
    this.#handlers.add(handler)
    return () => void this.#handlers.delete(handler)
  }
}

function toIdentity(material: IdentityMaterial): WorkloadIdentity {
  const { serial, notAfterMs, rootsPem, certificateChainPem } = material
  const id = parseSpiffeId(material.id)?.id
  if (id === undefined) throw refused(material, 'it is not a SPIFFE identity')
  if (rootsPem.length === 0) throw refused(material, 'it comes without a root')
  try {
    const keyPem = Buffer.from(material.keyPem)
    const context = createSecureContext(contextOptions({ certificateChainPem, keyPem, rootsPem }))
    return { id, serial, notAfterMs, context, rootsPem }
  } catch (error) {
    throw refused(material, errorText(error), error)
  }
}

function refused(material: IdentityMaterial, why: string, cause?: unknown): MeshError {
  return new MeshError('identity.context', `cannot use the certificate of ${material.id}: ${why}`, {
    cause,
  })
}
