// Dials tunnel doors from places and with certificates that the mesh would never make.
import { createPrivateKey, randomUUID, X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Signer } from '../../src/identity/issue/certificates.ts'
import type { Leaf } from '../../src/identity/testing/certificates.ts'
import type { Lab } from '../lab/lab.ts'

const DIAL = fileURLToPath(new URL('programs/dial.mjs', import.meta.url))
export const HBONE_PORT = 15_008

export interface CertificateFiles {
  readonly cert: string
  readonly key: string
}

/** Request headers; a message is sent when the answer is 200, and read back. */
export interface DoorRequest {
  readonly ':method': string
  readonly ':authority'?: string
  readonly ':path'?: string
  readonly ':scheme'?: string
  readonly message?: string
}

export interface DialOptions {
  readonly port?: number
  readonly certificate?: CertificateFiles
  /** Options of `tls.connect`. */
  readonly tls?: object
  readonly requests?: readonly DoorRequest[]
}

export interface DoorReport {
  /** Version and protocol; '' when the handshake failed. */
  readonly tls: string
  /** Whether the session began. */
  readonly accepted?: boolean
  readonly error?: string
  readonly answers: readonly { readonly status: number; readonly body: string }[]
}

interface Dialler {
  exec(argv: readonly string[], options?: object): Promise<{ readonly stdout: string }>
}

export async function dial(
  from: Dialler,
  host: string,
  { certificate, ...options }: DialOptions,
  place: object = {},
): Promise<DoorReport> {
  const told = { host, port: HBONE_PORT, ...certificate, ...options }
  const { stdout } = await from.exec([process.execPath, DIAL, JSON.stringify(told)], place)
  return JSON.parse(stdout) as DoorReport
}

/** The mesh's root, with its key. */
export function rootOf(lab: Lab): Signer {
  const read = (file: string): string =>
    readFileSync(join(lab.config.directory, 'ca', file), 'utf8')
  return {
    certificate: new X509Certificate(read('root.crt')),
    key: createPrivateKey(read('root.key')),
  }
}

/** A node's intermediate, which shared configuration makes readable for every node. */
export function intermediateFiles(lab: Lab, node: string): CertificateFiles {
  const directory = join(lab.config.directory, 'ca', 'nodes', node)
  return { cert: join(directory, 'intermediate.crt'), key: join(directory, 'intermediate.key') }
}

export function writeLeaf(lab: Lab, leaf: Leaf): CertificateFiles {
  const at = join(lab.directory, randomUUID())
  const files = { cert: `${at}.crt`, key: `${at}.key` }
  writeFileSync(files.cert, leaf.pem)
  writeFileSync(files.key, leaf.keyPem, { mode: 0o600 })
  return files
}

export const connectTo = (authority: string, message?: string): DoorRequest =>
  message === undefined
    ? { ':method': 'CONNECT', ':authority': authority }
    : { ':method': 'CONNECT', ':authority': authority, message }
