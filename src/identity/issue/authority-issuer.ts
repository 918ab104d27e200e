// Finds or makes what signs the leaves of a node: the root of the mesh and the node's intermediate.
import type { X509Certificate } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { acceptedRoots, checkedIssuer, type Issuer, mayMakeRoot } from './authority-checks.ts'
import {
  type AuthorityPaths,
  ensureDirectory,
  failed,
  publishCertificate,
  publishKey,
  readCertificates,
  readKey,
  replaceCertificate,
} from './authority-files.ts'
import {
  generateKey,
  makeIntermediate,
  makeRoot,
  type Signer,
  type Validity,
  validityOf,
} from './certificates.ts'

export interface IssuerParts {
  readonly paths: AuthorityPaths
  readonly clock: Clock
  readonly log: Log
}

export interface IssuerOptions {
  readonly nodeName: string
  readonly trustDomain: string
  readonly rootTtlMs: number
  readonly intermediateTtlMs: number
}

export interface OpenedIssuer {
  readonly issuer: Issuer
  readonly roots: readonly X509Certificate[]
  /** Whether the root's key is here, so that the intermediate can be renewed. */
  readonly ownsRoot: boolean
}

/** Clocks of other nodes may be behind ours. */
const BACKDATE_MS = 3_600_000
/** Share of an intermediate's life that is left when it is renewed. */
const RENEW_AT_REMAINING = 1 / 3

/** Whether it is time to replace the intermediate. */
export function isEnding(certificate: X509Certificate, nowMs: number): boolean {
  const { notBeforeMs, notAfterMs } = validityOf(certificate)
  return notAfterMs - nowMs < (notAfterMs - notBeforeMs) * RENEW_AT_REMAINING
}

/** Idempotent, and safe beside other agents that do the same at the same time. */
export async function openIssuer(
  parts: IssuerParts,
  options: IssuerOptions,
): Promise<OpenedIssuer> {
  const { paths, clock, log } = parts
  await ensureDirectory(paths.directory)
  const root = await openRoot(parts, options)
  await ensureDirectory(paths.nodes)
  await ensureDirectory(paths.node)
  const roots = await acceptedRoots(paths, clock.nowMs(), log)
  const key = await openIntermediateKey(paths, root !== undefined)
  const chain = await openIntermediate(parts, options, root, key)
  const issuer = checkedIssuer(key, chain, roots, paths, clock.nowMs())
  return { issuer, roots, ownsRoot: root !== undefined }
}

/** Undefined when the root's key is kept elsewhere: then the intermediate must have been brought. */
async function openRoot(parts: IssuerParts, options: IssuerOptions): Promise<Signer | undefined> {
  const { rootKey, rootCertificate } = parts.paths
  if ((await readKey(rootKey)) === undefined && (await mayMakeRoot(parts.paths))) {
    await publishKey(rootKey, await generateKey())
  }
  // Read again in any case: the key that counts may have been published by another agent.
  const key = await readKey(rootKey)
  if (key === undefined) return undefined
  const nowMs = parts.clock.nowMs()
  if ((await readCertificates(rootCertificate)) === undefined) {
    // Also reached when another agent made the key and has not made the certificate yet, or died
    // before it could: whichever certificate for that key is published first is the root.
    const validity = { notBeforeMs: nowMs - BACKDATE_MS, notAfterMs: nowMs + options.rootTtlMs }
    await publishCertificate(rootCertificate, await makeRoot(key, options.trustDomain, validity))
  }
  const [certificate] = (await readCertificates(rootCertificate)) ?? []
  if (certificate === undefined) throw failed(`${rootCertificate} vanished while being read`)
  if (!certificate.checkPrivateKey(key)) {
    throw failed(`${rootKey} is not the key of ${rootCertificate}: restore the pair`)
  }
  if (validityOf(certificate).notAfterMs <= nowMs) {
    throw failed(`${rootCertificate} has expired: make a new root and distribute it`)
  }
  return { certificate, key }
}

async function openIntermediateKey(
  paths: AuthorityPaths,
  mayMake: boolean,
): Promise<Signer['key']> {
  if (mayMake && (await readKey(paths.intermediateKey)) === undefined) {
    await publishKey(paths.intermediateKey, await generateKey())
  }
  const key = await readKey(paths.intermediateKey)
  if (key !== undefined) return key
  throw failed(
    `${paths.directory} has no root.key, and ${paths.intermediateKey} is missing: put this ` +
      "node's intermediate there (key and certificate), or restore root.key",
  )
}

async function openIntermediate(
  parts: IssuerParts,
  options: IssuerOptions,
  root: Signer | undefined,
  key: Signer['key'],
): Promise<readonly X509Certificate[]> {
  const { paths, clock, log } = parts
  const file = paths.intermediateCertificate
  const nowMs = clock.nowMs()
  const held = await readCertificates(file)
  const ending = held?.[0] !== undefined && isEnding(held[0], nowMs)
  if (held !== undefined && !(ending && root !== undefined)) return held
  if (root === undefined) throw failed(`${file} is missing: put the certificate of its key there`)
  const validity = withinOf(root.certificate, {
    notBeforeMs: nowMs - BACKDATE_MS,
    notAfterMs: nowMs + options.intermediateTtlMs,
  })
  const made = await makeIntermediate(root, key, options, validity)
  if (held === undefined) {
    await publishCertificate(file, made)
  } else {
    // The key stays: a key and a certificate cannot be replaced in one step.
    await replaceCertificate(file, made)
    log.info('authority.intermediate-renewed', { until: made.validToDate.toISOString() })
  }
  return (await readCertificates(file)) ?? [made]
}

function withinOf(issuer: X509Certificate, wanted: Validity): Validity {
  const bounds = validityOf(issuer)
  return {
    notBeforeMs: Math.max(wanted.notBeforeMs, bounds.notBeforeMs),
    notAfterMs: Math.min(wanted.notAfterMs, bounds.notAfterMs),
  }
}
