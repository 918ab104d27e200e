// Certificates for the tests of this room, right and wrong ones: whatever an authority of ours would
// never issue has to be forged.
import 'reflect-metadata'
import { createPublicKey, type webcrypto, X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'
import * as x509 from '@peculiar/x509'
import { generateKey, makeRoot, type Signer } from '../issue/certificates.ts'
import { contextOptions } from '../present/tls-options.ts'

export const DAY_MS = 86_400_000

export interface Forged {
  readonly uris?: readonly string[]
  readonly dnsNames?: readonly string[]
  /** Dotted identifiers; undefined leaves the extension out. */
  readonly ekus?: readonly string[] | undefined
  readonly notBeforeMs?: number
  readonly notAfterMs?: number
  readonly isCa?: boolean
  /** Adds the alternative names a second time, as an extension of its own. */
  readonly namesTwice?: boolean
}

export interface Leaf {
  readonly pem: string
  readonly der: Uint8Array
  readonly keyPem: string
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

export async function forgeRoot(trustDomain = 'cluster.local'): Promise<Signer> {
  const key = await generateKey()
  const nowMs = Date.now()
  const validity = { notBeforeMs: nowMs - 2 * DAY_MS, notAfterMs: nowMs + 365 * DAY_MS }
  return { key, certificate: await makeRoot(key, trustDomain, validity) }
}

/** A root with the name of another and a key of its own. */
export async function forgeRootNamedLike(model: Signer): Promise<Signer> {
  const key = await generateKey()
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    name: new x509.X509Certificate(model.certificate.raw).subject,
    keys: {
      privateKey: key.toCryptoKey(ALGORITHM, true, ['sign']),
      publicKey: createPublicKey(key).toCryptoKey(ALGORITHM, true, ['verify']),
    },
    extensions: [new x509.BasicConstraintsExtension(true, 1, true)],
  })
  return { key, certificate: new X509Certificate(Buffer.from(made.rawData)) }
}

/** Signed by the root itself; valid for serving and calling unless told otherwise. */
export async function forgeLeaf(root: Signer, forged: Forged = {}): Promise<Leaf> {
  const keys = (await crypto.subtle.generateKey(ALGORITHM, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair
  const names = new x509.SubjectAlternativeNameExtension([
    ...(forged.uris ?? []).map((value) => ({ type: 'url' as const, value })),
    ...(forged.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
  ])
  const ekus = 'ekus' in forged ? forged.ekus : BOTH_PURPOSES
  const made = await x509.X509CertificateGenerator.create({
    subject: 'CN=leaf',
    issuer: new x509.X509Certificate(root.certificate.raw).subjectName,
    notBefore: new Date(forged.notBeforeMs ?? Date.now() - DAY_MS),
    notAfter: new Date(forged.notAfterMs ?? Date.now() + DAY_MS),
    publicKey: keys.publicKey,
    signingKey: root.key.toCryptoKey(ALGORITHM, false, ['sign']),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(forged.isCa ?? false, undefined, true),
      ...(ekus === undefined ? [] : [new x509.ExtendedKeyUsageExtension([...ekus])]),
      ...(names.names.items.length === 0 ? [] : [names]),
      ...(forged.namesTwice === true ? [names] : []),
    ],
  })
  const der = await crypto.subtle.exportKey('pkcs8', keys.privateKey)
  return {
    pem: `${made.toString('pem')}\n`,
    der: new Uint8Array(made.rawData),
    keyPem: x509.PemConverter.encode(der, 'PRIVATE KEY'),
  }
}

export const SERVER_AUTH: string = x509.ExtendedKeyUsage.serverAuth
export const CLIENT_AUTH: string = x509.ExtendedKeyUsage.clientAuth
const BOTH_PURPOSES: readonly string[] = [SERVER_AUTH, CLIENT_AUTH]

/** The context a worker would make of it. */
export function contextOf(leaf: Leaf, roots: readonly Signer[]): { context: SecureContext } {
  const options = contextOptions({
    certificateChainPem: leaf.pem,
    keyPem: Buffer.from(leaf.keyPem),
    rootsPem: roots.map((root) => root.certificate.toString()),
  })
  return { context: createSecureContext(options) }
}

export function rootPem(root: Signer): string {
  return root.certificate.toString()
}

export function pemBytes(pem: string): ArrayBuffer {
  return new Uint8Array(Buffer.from(pem)).buffer
}
