// Takes an accepted connection through the server's side of the TLS handshake.
import type { Socket } from 'node:net'
import { type SecureContext, TLSSocket, type TLSSocketOptions } from 'node:tls'
import { errorText } from '../../base/mesh-error.ts'
import type { PeerIdentity } from '../../model/facts.ts'
import type { Reason } from '../../model/reason.ts'
import { parseSpiffeId } from '../../model/spiffe-id.ts'
import { authenticateClient } from './authenticate.ts'
import type { CertificateReader } from './certificate-facts.ts'
import { serverTlsOptions } from './tls-options.ts'

/** What a server can show of itself; a `WorkloadIdentity` is one. */
export interface Shown {
  readonly id: string
  readonly context: SecureContext
}

/**
 * Whom a server presents itself as: as the only one it is, whatever name the client asks for; or,
 * where several share an address, as the one that is asked for by name (SNI, `serverNameOf`).
 */
export type Presentation<I extends Shown> =
  | { readonly kind: 'one'; readonly identity: I }
  | {
      readonly kind: 'several'
      /** For a client that asks for no name; undefined: it is refused. */
      readonly unnamed: I | undefined
      /** Undefined refuses the client. */
      readonly named: (serverName: string) => I | undefined
      /** A context without a certificate. */
      readonly anonymous: SecureContext
    }

export interface AcceptParts<I extends Shown> {
  readonly presentation: Presentation<I>
  readonly reader: CertificateReader
  readonly nowMs: number
  readonly timeoutMs: number
}

export type Accepted<I extends Shown> =
  | {
      readonly kind: 'accepted'
      readonly socket: TLSSocket
      readonly peer: Extract<PeerIdentity, { kind: 'verified' }>
      /** Whom the client was shown. */
      readonly identity: I
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
export function acceptClient<I extends Shown>(
  raw: Socket,
  parts: AcceptParts<I>,
): Promise<Accepted<I>> {
  return new Promise((resolve) => {
    const choice = choose(parts.presentation)
    const socket = new TLSSocket(raw, choice.options)
    const refuse = (reason: 'tls-failed' | 'identity-invalid', detail: string) => {
      stopWaiting()
      socket.on('error', () => {}) // An error after the refusal has nobody left to tell.
      socket.destroy()
      raw.destroy()
      resolve({ kind: 'refused', reason, detail })
    }
    const onError = (error: NodeJS.ErrnoException) =>
      refuse('tls-failed', error.code === NO_CERTIFICATE ? UNNAMED : errorText(error))
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
      const identity = choice.made()
      const trustDomain = parseSpiffeId(identity?.id ?? '')?.trustDomain
      if (identity === undefined || trustDomain === undefined) return refuse('tls-failed', UNNAMED)
      const peer = authenticateClient(socket, { trustDomain, nowMs: parts.nowMs }, parts.reader)
      if (peer.kind !== 'verified') return refuse('identity-invalid', peer.reason)
      stopWaiting()
      // Without `tls.Server`, Node keeps errors after the handshake to itself under this name.
      socket.on('_tlsError', (error: Error) => socket.destroy(error))
      resolve({ kind: 'accepted', socket, peer, identity })
    }
    socket.on('error', onError).on('close', onClose).on('secure', onSecure)
  })
}

/** What OpenSSL says where there is no certificate to show. */
const NO_CERTIFICATE = 'ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM'
const UNNAMED = 'several identities share this address, and the client names none of them'

interface Choice<I> {
  readonly options: TLSSocketOptions
  /** Undefined until one is chosen. */
  readonly made: () => I | undefined
}

/** OpenSSL reads the name; the context of the one chosen replaces the first, roots included. */
function choose<I extends Shown>(presentation: Presentation<I>): Choice<I> {
  if (presentation.kind === 'one') {
    const { identity } = presentation
    return { options: serverTlsOptions(identity), made: () => identity }
  }
  const { unnamed, named, anonymous } = presentation
  let chosen = unnamed
  return {
    made: () => chosen,
    options: {
      ...serverTlsOptions(unnamed ?? { context: anonymous }),
      SNICallback: (serverName, done) => {
        chosen = named(serverName)
        if (chosen === undefined) done(new Error(`nobody here is ${JSON.stringify(serverName)}`))
        else done(null, chosen.context)
      },
    },
  }
}
