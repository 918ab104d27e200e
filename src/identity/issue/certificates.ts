// Makes the certificates of the embedded authority: root, intermediate and leaf. What we make is
// ECDSA P-256; an intermediate that was brought may be of another kind.
import 'reflect-metadata'
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  hash,
  type KeyObject,
  randomBytes,
  X509Certificate,
} from 'node:crypto'
import { promisify } from 'node:util'
import * as x509 from '@peculiar/x509'
import type { SpiffeId } from '../../model/spiffe-id.ts'

export interface Validity {
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

/** A certificate and the key that belongs to it. */
export interface Signer {
  readonly certificate: X509Certificate
  readonly key: KeyObject
}

const ROOT_PATH_LENGTH = 1
const INTERMEDIATE_PATH_LENGTH = 0

const CURVES = {
  prime256v1: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  secp384r1: { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
} as const
const RSA = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' } as const

const generate = promisify(generateKeyPair)

export async function generateKey(): Promise<KeyObject> {
  return (await generate('ec', { namedCurve: 'prime256v1' })).privateKey
}

export function keyToPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString()
}

export function keyFromPem(pem: string): KeyObject {
  return createPrivateKey(pem)
}

/** Whether certificates can be signed with it: ECDSA P-256 or P-384, or RSA. */
export function canSign(key: KeyObject): boolean {
  return algorithmOf(key) !== undefined
}

/** Every certificate of a PEM text, in order; throws on one that does not parse. */
export function certificatesOf(pem: string): readonly X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  return blocks.map((block) => new X509Certificate(block))
}

export function validityOf(certificate: X509Certificate): Validity {
  return {
    notBeforeMs: certificate.validFromDate.getTime(),
    notAfterMs: certificate.validToDate.getTime(),
  }
}

/**
 * Self-signed. Its name holds a hash of its key: during a rotation two roots are accepted, and
 * OpenSSL finds issuers by name first.
 */
export function makeRoot(
  key: KeyObject,
  trustDomain: string,
  validity: Validity,
): Promise<X509Certificate> {
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'der' })
  const subject = nameOf(trustDomain, `root ${hash('sha256', publicKey).slice(0, 8)}`)
  return sign({ key, issuer: subject }, key, subject, validity, [
    new x509.BasicConstraintsExtension(true, ROOT_PATH_LENGTH, true),
    new x509.KeyUsagesExtension(AUTHORITY_USAGES, true),
  ])
}

export function makeIntermediate(
  root: Signer,
  key: KeyObject,
  names: { readonly trustDomain: string; readonly nodeName: string },
  validity: Validity,
): Promise<X509Certificate> {
  const subject = nameOf(names.trustDomain, `node ${names.nodeName}`)
  return sign(issuerOf(root), key, subject, validity, [
    new x509.BasicConstraintsExtension(true, INTERMEDIATE_PATH_LENGTH, true),
    new x509.KeyUsagesExtension(AUTHORITY_USAGES, true),
  ])
}

/**
 * Exactly one alternative name, the identity; critical, as the subject is empty (RFC 5280 4.2.1.6).
 * Source: SPIFFE X.509-SVID 2 to 4.
 */
export function makeLeaf(
  issuer: Signer,
  key: KeyObject,
  id: SpiffeId,
  validity: Validity,
): Promise<X509Certificate> {
  return sign(issuerOf(issuer), key, [], validity, [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension([
      x509.ExtendedKeyUsage.serverAuth,
      x509.ExtendedKeyUsage.clientAuth,
    ]),
    new x509.SubjectAlternativeNameExtension([{ type: 'url', value: id }], true),
  ])
}

interface Issuer {
  readonly key: KeyObject
  readonly issuer: x509.JsonName | x509.Name
  /** Of the issuer's certificate, in hex; it need not be a hash of the key. */
  readonly keyId?: string | undefined
}

function issuerOf(signer: Signer): Issuer {
  const certificate = new x509.X509Certificate(signer.certificate.raw)
  return {
    key: signer.key,
    issuer: certificate.subjectName,
    keyId: certificate.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId,
  }
}

async function sign(
  issuer: Issuer,
  subjectKey: KeyObject,
  subject: x509.JsonName,
  validity: Validity,
  extensions: readonly x509.Extension[],
): Promise<X509Certificate> {
  const algorithm = algorithmOf(issuer.key)
  const subjectAlgorithm = algorithmOf(subjectKey)
  if (algorithm === undefined || subjectAlgorithm === undefined) {
    throw new TypeError('the key is neither ECDSA P-256 or P-384 nor RSA')
  }
  const publicKey = createPublicKey(subjectKey).toCryptoKey(subjectAlgorithm, true, ['verify'])
  const keyIds: x509.Extension[] = [await x509.SubjectKeyIdentifierExtension.create(publicKey)]
  if (issuer.keyId !== undefined) {
    keyIds.push(new x509.AuthorityKeyIdentifierExtension(issuer.keyId))
  }
  const made = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject,
    issuer: issuer.issuer,
    // Certificates count whole seconds; rounding down never outlives an issuer.
    notBefore: new Date(wholeSeconds(validity.notBeforeMs)),
    notAfter: new Date(wholeSeconds(validity.notAfterMs)),
    publicKey,
    signingKey: issuer.key.toCryptoKey(algorithm, false, ['sign']),
    signingAlgorithm: algorithm,
    extensions: [...extensions, ...keyIds],
  })
  return new X509Certificate(Buffer.from(made.rawData))
}

const AUTHORITY_USAGES = x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign

function algorithmOf(
  key: KeyObject,
): (typeof CURVES)[keyof typeof CURVES] | typeof RSA | undefined {
  if (key.asymmetricKeyType === 'rsa') return RSA
  const curve = key.asymmetricKeyDetails?.namedCurve
  if (curve === 'prime256v1' || curve === 'secp384r1') return CURVES[curve]
  return undefined
}

function nameOf(trustDomain: string, role: string): x509.JsonName {
  // X.520 bounds both at 64 characters.
  return [{ O: [trustDomain.slice(0, 64)] }, { CN: [`Weft ${role}`.slice(0, 64)] }]
}

/** 126 random bits, positive and of one length in DER (RFC 5280 4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40
  return bytes.toString('hex')
}

function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000
}
