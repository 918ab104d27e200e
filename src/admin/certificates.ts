// The answer to "which certificates are in use, until when": read from the certificates
// themselves, never with a key.
import { X509Certificate } from 'node:crypto'
import type { CertificateFacts } from './port.ts'
import type { CertificateRow, Certificates } from './shapes.ts'

/** What a leaf says; parsed once for each certificate. */
type Leaf = Pick<CertificateRow, 'serialNumber' | 'issuer' | 'notBefore' | 'notAfter'>

export class CertificateList {
  /** By identity: a replacement is another text. */
  #leaves = new Map<string, { readonly pem: string; readonly leaf: Leaf }>()

  rows(node: string, held: readonly CertificateFacts[]): Certificates {
    const leaves = new Map<string, { readonly pem: string; readonly leaf: Leaf }>()
    const certificates = held.map((facts) => {
      const pem = facts.certificateChainPem
      if (pem === undefined) return rowOf(facts, {})
      const before = this.#leaves.get(facts.id)
      const known = before?.pem === pem ? before : { pem, leaf: leafOf(pem) }
      leaves.set(facts.id, known)
      return rowOf(facts, known.leaf)
    })
    this.#leaves = leaves
    return {
      node,
      certificates: certificates.toSorted((a, b) => (a.identity < b.identity ? -1 : 1)),
    }
  }
}

function rowOf(facts: CertificateFacts, leaf: Leaf): CertificateRow {
  const { id, state, renewAtMs, failures, failure } = facts
  return {
    identity: id,
    state,
    ...leaf,
    ...(renewAtMs === undefined ? {} : { renewAt: new Date(renewAtMs).toISOString() }),
    failures,
    ...(failure === undefined ? {} : { failure }),
  }
}

function leafOf(chainPem: string): Leaf {
  const leaf = new X509Certificate(chainPem)
  return {
    serialNumber: leaf.serialNumber,
    issuer: leaf.issuer.replaceAll('\n', ', '),
    notBefore: leaf.validFromDate.toISOString(),
    notAfter: leaf.validToDate.toISOString(),
  }
}
