// What the files of an authority must satisfy before anything is signed with them. Every refusal
// names the file and the remedy.
import type { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import type { Log } from '../../base/log.ts'
import { type AuthorityPaths, failed, namesIn, readCertificates } from './authority-files.ts'
import { type Signer, type Validity, validityOf } from './certificates.ts'

/** Who signs leaves: its certificate, its key, and what leads from it to a root. */
export interface Issuer extends Signer {
  /** The issuer's certificate first; no root. */
  readonly chain: readonly X509Certificate[]
  /** Where chain and root are all valid: no leaf may reach beyond. */
  readonly bounds: Validity
}

/**
 * Whether the directory is really new. Any trace of an authority (a root whose key is kept
 * elsewhere, an intermediate that was brought) means that a root of our own would split the mesh.
 */
export async function mayMakeRoot(paths: AuthorityPaths): Promise<boolean> {
  if ((await readCertificates(paths.rootCertificate)) !== undefined) return false
  if ((await namesIn(paths.roots)).some((name) => name.endsWith('.crt'))) return false
  for (const node of await namesIn(paths.nodes)) {
    const files = await namesIn(join(paths.nodes, node))
    if (files.includes('intermediate.crt') || files.includes('intermediate.key')) return false
  }
  return true
}

/** `root.crt` and `roots/*.crt`, each once; expired ones are left out with a warning. */
export async function acceptedRoots(
  paths: AuthorityPaths,
  nowMs: number,
  log: Log,
): Promise<readonly X509Certificate[]> {
  const names = (await namesIn(paths.roots)).filter((name) => name.endsWith('.crt'))
  const roots = new Map<string, X509Certificate>()
  for (const file of [paths.rootCertificate, ...names.map((name) => join(paths.roots, name))]) {
    for (const root of (await readCertificates(file)) ?? []) {
      if (!root.ca) throw failed(`${file} is not the certificate of an authority: remove it`)
      if (validityOf(root).notAfterMs <= nowMs) {
        log.warn('authority.root-expired', { file, until: root.validToDate.toISOString() })
      } else {
        roots.set(root.fingerprint256, root)
      }
    }
  }
  if (roots.size > 0) return [...roots.values()]
  throw failed(
    `no valid root in ${paths.directory}: put the root of the mesh at ${paths.rootCertificate} ` +
      `or into ${paths.roots}/`,
  )
}

/** `chain` is the content of the node's `intermediate.crt`. */
export function checkedIssuer(
  key: Signer['key'],
  chain: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  paths: AuthorityPaths,
  nowMs: number,
): Issuer {
  const file = paths.intermediateCertificate
  const own = chain.filter((certificate) => !isIssuedBy(certificate, certificate))
  const [certificate] = own
  if (certificate === undefined) throw failed(`${file} is a root: it must be an intermediate`)
  if (!certificate.checkPrivateKey(key)) {
    throw failed(`${paths.intermediateKey} is not the key of ${file}: put a matching pair there`)
  }
  let top = certificate
  for (const next of own.slice(1)) {
    if (!isIssuedBy(top, next)) {
      throw failed(`${file}: "${oneLine(top)}" is not signed by the certificate after it`)
    }
    top = next
  }
  const root = roots.find((candidate) => isIssuedBy(top, candidate))
  if (root === undefined) {
    throw failed(
      `${file} does not lead to an accepted root: put the root that signed "${oneLine(top)}" ` +
        `into ${paths.roots}/ as a .crt file`,
    )
  }
  for (const link of own) {
    if (!link.ca) throw failed(`${file}: "${oneLine(link)}" may not sign (no CA bit)`)
  }
  const bounds = commonValidity([...own, root])
  if (nowMs >= bounds.notAfterMs) {
    throw failed(`${file} expired at ${new Date(bounds.notAfterMs).toISOString()}: replace it`)
  }
  if (nowMs < bounds.notBeforeMs) {
    const from = new Date(bounds.notBeforeMs).toISOString()
    throw failed(`${file} is not valid before ${from}: check the clock of this node`)
  }
  return { certificate, key, chain: own, bounds }
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
}

function commonValidity(certificates: readonly X509Certificate[]): Validity {
  const all = certificates.map(validityOf)
  return {
    notBeforeMs: Math.max(...all.map((validity) => validity.notBeforeMs)),
    notAfterMs: Math.min(...all.map((validity) => validity.notAfterMs)),
  }
}

function oneLine(certificate: X509Certificate): string {
  // Node gives undefined for an empty subject, whatever its types say.
  const subject: string | undefined = certificate.subject
  return subject?.replaceAll('\n', ', ') ?? 'a certificate without a name'
}
