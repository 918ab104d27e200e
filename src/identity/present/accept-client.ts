// Takes an accepted connection through the server's side of the TLS handshake.
import type { Socket } from 'node:net'
import { type SecureContext, TLSSocket } from 'node:tls'
import { errorText } from '../../base/mesh-error.ts'
import type { PeerIdentity } from '../../model/facts.ts'
import type { Reason } from '../../model/reason.ts'
import { authenticateClient } from './authenticate.ts'
import type { CertificateReader } from './certificate-facts.ts'
import { serverTlsOptions } from './tls-options.ts'
import type { ClientExpectation } from './verify-peer.ts'

export interface AcceptParts {
  readonly identity: { readonly context: SecureContext }
  readonly expectation: ClientExpectation
  readonly reader: CertificateReader
  readonly timeoutMs: number
}

export type Accepted =
  | {
      readonly kind: 'accepted'
      readonly socket: TLSSocket
      readonly peer: Extract<PeerIdentity, { kind: 'verified' }>
    }
  | {
      readonly kind: 'refused'
      readonly reason: Extract<Reason, 'tls-failed' | 'identity-invalid'>
      /** For the log: what was wrong, or OpenSSL's error. */
      readonly detail: string
    }

/**
 * Resolves with the secured socket, paused and authenticated, or with why there is none; then the
 * connection is destroyed. Never rejects. The caller handles the socket's later errors.
 */
export function acceptClient(raw: Socket, parts: AcceptParts): Promise<Accepted> {
  return new Promise((resolve) => {
    const socket = new TLSSocket(raw, serverTlsOptions(parts.identity))
    const refuse = (reason: 'tls-failed' | 'identity-invalid', detail: string) => {
      stopWaiting()
      socket.on('error', () => {}) // An error after the refusal has nobody left to tell.
      socket.destroy()
      raw.destroy()
      resolve({ kind: 'refused', reason, detail })
    }
    const onError = (error: Error) => refuse('tls-failed', errorText(error))
    const onClose = () => refuse('tls-failed', 'the client left during the handshake')
    const timer = setTimeout(
      () => refuse('tls-failed', `no handshake within ${parts.timeoutMs} ms`),
      parts.timeoutMs,
    )
    const stopWaiting = () => {
      clearTimeout(timer)
      socket.off('error', onError).off('close', onClose).off('secure', onSecure)
    }
    const onSecure = () => {
      const peer = authenticateClient(socket, parts.expectation, parts.reader)
      if (peer.kind !== 'verified') return refuse('identity-invalid', peer.reason)
      stopWaiting()
      // Without `tls.Server`, Node keeps errors after the handshake to itself under this name.
      socket.on('_tlsError', (error: Error) => socket.destroy(error))
      resolve({ kind: 'accepted', socket, peer })
    }
    socket.on('error', onError).on('close', onClose).on('secure', onSecure)
  })
}
