// Decides whether a peer's certificate is acceptable and whose it is. Pure: sockets are read by
// `authenticate.ts`, chains are checked by OpenSSL and arrive here as a fact.
import type { PeerIdentity } from '../../model/facts.ts'
import { parseSpiffeId } from '../../model/spiffe-id.ts'
import { type CertificateFacts, EKU_CLIENT_AUTH, EKU_SERVER_AUTH } from './certificate-facts.ts'

export interface PresentedCertificate extends CertificateFacts {
  /** Whether the chain ends at an accepted root. */
  readonly chainTrusted: boolean
  /** Why not, in OpenSSL's words. */
  readonly chainError?: string
}

export interface ServerExpectation {
  /** Identities the endpoint may have; those that are no SPIFFE identity never match, and an empty
   * list accepts nobody. */
  readonly expected: readonly string[]
  readonly nowMs: number
}

export interface ClientExpectation {
  /** Of the workload that serves. */
  readonly trustDomain: string
  readonly nowMs: number
}

/**
 * Any URI name may be the expected one; others beside it do no harm, as the client knows whom it
 * wants. No certificate is `invalid` here: a TLS server always has one. Source: ztunnel
 * `tls/workload.rs`, IdentityVerifier.
 */
export function verifyServer(
  certificate: PresentedCertificate | undefined,
  { expected, nowMs }: ServerExpectation,
): PeerIdentity {
  if (certificate === undefined) return invalid('the server presented no certificate')
  if (expected.length === 0) return invalid('no server identity is expected here')
  const flaw = commonFlaw(certificate, EKU_SERVER_AUTH, 'serverAuth', nowMs)
  if (flaw !== undefined) return invalid(flaw)
  for (const wanted of expected) {
    const parts = certificate.uriSans.includes(wanted) ? parseSpiffeId(wanted) : undefined
    if (parts !== undefined) return { kind: 'verified', id: parts.id, by: 'mtls' }
  }
  return invalid(`expected ${quoted(expected)}, the server is ${quoted(certificate.uriSans)}`)
}

/**
 * Exactly one URI name, which is a SPIFFE identity of our trust domain. Stricter than ztunnel,
 * which takes the first that parses: with several, which one a policy means would be a guess.
 * No certificate is invalid too: whoever speaks TLS to us has to show one.
 */
export function verifyClient(
  certificate: PresentedCertificate | undefined,
  { trustDomain, nowMs }: ClientExpectation,
): PeerIdentity {
  if (certificate === undefined) return invalid('the client presented no certificate')
  const flaw = commonFlaw(certificate, EKU_CLIENT_AUTH, 'clientAuth', nowMs)
  if (flaw !== undefined) return invalid(flaw)
  const [uri, ...more] = certificate.uriSans
  if (uri === undefined) return invalid('the certificate names no URI')
  if (more.length > 0) return invalid(`the certificate names ${more.length + 1} URIs, not one`)
  const parts = parseSpiffeId(uri)
  if (parts === undefined) return invalid(`not a SPIFFE identity: ${quoted([uri])}`)
  if (parts.trustDomain !== trustDomain) {
    return invalid(`trust domain "${parts.trustDomain}" is not "${trustDomain}"`)
  }
  return { kind: 'verified', id: parts.id, by: 'mtls' }
}

/** The purpose must be stated: a certificate without any is not accepted for all of them. */
function commonFlaw(
  certificate: PresentedCertificate,
  eku: string,
  purpose: string,
  nowMs: number,
): string | undefined {
  if (!certificate.chainTrusted) {
    return `the chain is not trusted: ${certificate.chainError ?? 'unknown'}`
  }
  if (nowMs < certificate.notBeforeMs) {
    return `not valid before ${new Date(certificate.notBeforeMs).toISOString()}`
  }
  if (nowMs > certificate.notAfterMs) {
    return `expired at ${new Date(certificate.notAfterMs).toISOString()}`
  }
  if (certificate.isCa) return 'the certificate is that of an authority'
  if (!certificate.ekus.includes(eku)) return `the certificate is not for ${purpose}`
  return undefined
}

const QUOTED_MAX = 4

/** Names come from the peer: bounded, and escaped so that a log line stays one line. */
function quoted(names: readonly string[]): string {
  if (names.length === 0) return 'nobody'
  const shown = names.slice(0, QUOTED_MAX).map((name) => JSON.stringify(name.slice(0, 300)))
  return names.length > QUOTED_MAX ? `${shown.join(', ')} ...` : shown.join(', ')
}

function invalid(reason: string): PeerIdentity {
  return { kind: 'invalid', reason }
}
