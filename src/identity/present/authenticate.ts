// Reads from a TLS socket who the peer is: the thin layer between `node:tls` and `verify-peer`.
import type { PeerCertificate, TLSSocket } from 'node:tls'
import type { PeerIdentity } from '../../model/facts.ts'
import { CertificateReader } from './certificate-facts.ts'
import { type ClientExpectation, verifyClient, verifyServer } from './verify-peer.ts'

export interface ServerCheck {
  /** Identities the endpoint may have; an empty list accepts nobody. */
  readonly expected: readonly string[]
  readonly nowMs: () => number
  readonly reader?: CertificateReader
}

/** The server is not whom we wanted; reason `identity-mismatch`. */
export class PeerRefused extends Error {
  readonly code = 'WEFT_PEER_REFUSED'

  constructor(reason: string) {
    super(reason)
    this.name = 'PeerRefused'
  }
}

/**
 * The `checkServerIdentity` of a connection. Node calls it when OpenSSL has accepted the chain, and
 * skips it for resumed sessions, of which there are none here.
 */
export function serverIdentityCheck(
  check: ServerCheck,
): (hostname: string, certificate: PeerCertificate) => Error | undefined {
  const reader = check.reader ?? new CertificateReader()
  return (_hostname, certificate) => {
    const facts = reader.read(certificate.raw)
    if (!facts.ok) return new PeerRefused(facts.error)
    const peer = verifyServer(
      { ...facts.value, chainTrusted: true },
      { expected: check.expected, nowMs: check.nowMs() },
    )
    return peer.kind === 'verified' ? undefined : new PeerRefused(peer.reason)
  }
}

/**
 * Who the client of a server-side socket is; to be asked on 'secure', before a byte is read. Every
 * answer but `verified` means: destroy the socket. A client that did not agree on `h2` is refused
 * too. Source: ztunnel `tls/lib.rs`.
 */
export function authenticateClient(
  socket: TLSSocket,
  expectation: ClientExpectation,
  reader: CertificateReader = new CertificateReader(),
): PeerIdentity {
  if (socket.alpnProtocol !== 'h2') {
    return { kind: 'invalid', reason: 'the client did not offer the protocol h2' }
  }
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return verifyClient(undefined, expectation)
  const facts = reader.read(certificate.raw)
  if (!facts.ok) return { kind: 'invalid', reason: facts.error }
  const chainError = chainErrorOf(socket)
  const chain =
    chainError === undefined ? { chainTrusted: true } : { chainTrusted: false, chainError }
  return verifyClient({ ...facts.value, ...chain }, expectation)
}

/** What OpenSSL found wrong with the chain, purposes included; undefined if nothing. */
function chainErrorOf(socket: TLSSocket): string | undefined {
  if (socket.authorized) return undefined
  // `authorized` is set by `tls.Server` only, and a captured connection has none. The answer of
  // OpenSSL is on the handle, which has no public name; without it nobody is trusted.
  const handle: unknown = Reflect.get(socket, '_handle')
  if (!isVerifier(handle)) return 'this version of Node does not tell'
  const error = handle.verifyError()
  if (error === null || error === undefined) return undefined
  return error.code ?? error.message
}

interface Verifier {
  verifyError(): (Error & { readonly code?: string }) | null | undefined
}

function isVerifier(handle: unknown): handle is Verifier {
  return (
    typeof handle === 'object' &&
    handle !== null &&
    typeof Reflect.get(handle, 'verifyError') === 'function'
  )
}
