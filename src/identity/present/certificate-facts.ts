// The few facts of a certificate that peer verification looks at, read from its DER: the text that
// Node makes of alternative names joins them with commas, and a name may hold a comma.
import { hash } from 'node:crypto'
import { err, ok, type Result } from '../../base/result.ts'
import { LIMITS } from '../../model/limits.ts'
import {
  contentOf,
  type DerElement,
  DerError,
  latin1,
  oidText,
  readElements,
  readOnly,
  timeMs,
} from './der.ts'

export interface CertificateFacts {
  /** Every URI of the subject's alternative names, in order, as written. */
  readonly uriSans: readonly string[]
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** Extended key usages as dotted identifiers; empty when the certificate names none. */
  readonly ekus: readonly string[]
  readonly isCa: boolean
}

export const EKU_SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
export const EKU_CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'

const SEQUENCE = 0x30
const BOOLEAN = 0x01
const OCTET_STRING = 0x04
const OID = 0x06
const VERSION = 0xa0
const EXTENSIONS = 0xa3
const URI_NAME = 0x86
const SUBJECT_ALT_NAME = '2.5.29.17'
const BASIC_CONSTRAINTS = '2.5.29.19'
const EXTENDED_KEY_USAGE = '2.5.29.37'

/** An error says what is malformed. Source: RFC 5280 4.1, 4.2.1.6, 4.2.1.9, 4.2.1.12. */
export function readCertificate(der: Uint8Array): Result<CertificateFacts, string> {
  try {
    return ok(parseCertificate(der))
  } catch (error) {
    if (error instanceof DerError) return err(`malformed certificate: ${error.message}`)
    throw error
  }
}

/** Remembers what it read: the same few peers present the same few certificates. */
export class CertificateReader {
  readonly #held = new Map<string, Result<CertificateFacts, string>>()
  readonly #heldMax: number

  constructor(heldMax: number = LIMITS.certificatesHeldMax) {
    this.#heldMax = heldMax
  }

  read(der: Uint8Array): Result<CertificateFacts, string> {
    const fingerprint = hash('sha256', der, 'base64')
    const held = this.#held.get(fingerprint)
    if (held !== undefined) return held
    const read = readCertificate(der)
    if (this.#held.size >= this.#heldMax) {
      const [oldest] = this.#held.keys()
      if (oldest !== undefined) this.#held.delete(oldest)
    }
    this.#held.set(fingerprint, read)
    return read
  }

  get size(): number {
    return this.#held.size
  }
}

function parseCertificate(der: Uint8Array): CertificateFacts {
  const [toBeSigned] = readElements(readOnly(der, SEQUENCE))
  const fields = readElements(contentOf(toBeSigned, SEQUENCE))
  // version?, serial, algorithm, issuer, validity, subject, key, issuerId?, subjectId?, extensions?
  const first = fields[0]?.tag === VERSION ? 1 : 0
  const validity = readElements(contentOf(fields[first + 3], SEQUENCE))
  const extensions = readExtensions(fields.find((field) => field.tag === EXTENSIONS))
  const names = extensions.get(SUBJECT_ALT_NAME)
  const usages = extensions.get(EXTENDED_KEY_USAGE)
  const constraints = extensions.get(BASIC_CONSTRAINTS)
  return {
    uriSans:
      names === undefined
        ? []
        : readElements(readOnly(names, SEQUENCE))
            .filter((name) => name.tag === URI_NAME)
            .map((name) => latin1(name.content)),
    notBeforeMs: timeMs(validity[0]),
    notAfterMs: timeMs(validity[1]),
    ekus:
      usages === undefined
        ? []
        : readElements(readOnly(usages, SEQUENCE)).map((usage) => oidText(contentOf(usage, OID))),
    isCa: constraints !== undefined && readIsCa(constraints),
  }
}

/** Value by identifier. A repeated extension would let two readers choose different ones. */
function readExtensions(field: DerElement | undefined): ReadonlyMap<string, Uint8Array> {
  const extensions = new Map<string, Uint8Array>()
  if (field === undefined) return extensions
  for (const extension of readElements(readOnly(field.content, SEQUENCE))) {
    const parts = readElements(contentOf(extension, SEQUENCE))
    const id = oidText(contentOf(parts[0], OID))
    if (extensions.has(id)) throw new DerError(`extension ${id} appears twice`, 0)
    const value = parts[1]?.tag === BOOLEAN ? parts[2] : parts[1]
    extensions.set(id, contentOf(value, OCTET_STRING))
  }
  return extensions
}

function readIsCa(constraints: Uint8Array): boolean {
  const [flag] = readElements(readOnly(constraints, SEQUENCE))
  return flag?.tag === BOOLEAN && flag.content[0] !== 0
}
