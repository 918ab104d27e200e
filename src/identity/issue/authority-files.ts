// The files of the embedded authority, safe for several agents that start at once on one directory:
// a file is written whole under another name and then linked, so the first writer wins and nobody
// ever reads half of it. No lock is held, so none is left behind by an agent that dies.
import type { KeyObject, X509Certificate } from 'node:crypto'
import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errorText, MeshError } from '../../base/mesh-error.ts'
import { canSign, certificatesOf, keyFromPem, keyToPem } from './certificates.ts'

const PRIVATE_FILE_MODE = 0o600
const PUBLIC_FILE_MODE = 0o644
const DIRECTORY_MODE = 0o700
const BEYOND_OWNER = 0o077
const WRITABLE_BY_ANYONE = 0o002

export interface AuthorityPaths {
  readonly directory: string
  readonly rootKey: string
  readonly rootCertificate: string
  /** Further accepted roots, `*.crt`. */
  readonly roots: string
  readonly nodes: string
  readonly node: string
  readonly intermediateKey: string
  readonly intermediateCertificate: string
}

export function authorityPaths(directory: string, nodeName: string): AuthorityPaths {
  const nodes = join(directory, 'nodes')
  const node = join(nodes, nodeName)
  return {
    directory,
    rootKey: join(directory, 'root.key'),
    rootCertificate: join(directory, 'root.crt'),
    roots: join(directory, 'roots'),
    nodes,
    node,
    intermediateKey: join(node, 'intermediate.key'),
    intermediateCertificate: join(node, 'intermediate.crt'),
  }
}

/** Makes it with 0700 unless it exists; refuses one that anybody may write to. */
export async function ensureDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: DIRECTORY_MODE })
    const { mode } = await stat(path)
    if ((mode & WRITABLE_BY_ANYONE) === 0) return
  } catch (error) {
    throw failed(`cannot make the directory ${path}: ${errorText(error)}`, error)
  }
  throw failed(`anybody may write to ${path}: run "chmod 700 ${path}"`)
}

/** Undefined if there is no such file. Refuses keys that others than the owner may read. */
export async function readKey(path: string): Promise<KeyObject | undefined> {
  const pem = await readText(path)
  if (pem === undefined) return undefined
  const mode = (await stat(path)).mode & 0o777
  if ((mode & BEYOND_OWNER) !== 0) {
    const shown = mode.toString(8).padStart(4, '0')
    throw failed(`others may read ${path} (mode ${shown}): run "chmod 600 ${path}"`)
  }
  const key = parsed(path, 'a private key in PEM', () => keyFromPem(pem))
  if (!canSign(key)) throw failed(`${path} must be ECDSA P-256 or P-384, or RSA`)
  return key
}

/** The certificates of one file; undefined if there is none, refused if it holds no certificate. */
export async function readCertificates(
  path: string,
): Promise<readonly X509Certificate[] | undefined> {
  const pem = await readText(path)
  if (pem === undefined) return undefined
  const certificates = parsed(path, 'certificates in PEM', () => certificatesOf(pem))
  if (certificates.length === 0) throw failed(`${path} holds no certificate in PEM`)
  return certificates
}

/** Names in a directory, sorted; none if there is no such directory. */
export async function namesIn(path: string): Promise<readonly string[]> {
  try {
    return (await readdir(path)).sort()
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return []
    throw failed(`cannot list ${path}: ${errorText(error)}`, error)
  }
}

/** Publishes the key unless there is one; the key that counts is what is read afterwards. */
export function publishKey(path: string, key: KeyObject): Promise<void> {
  return publish(path, keyToPem(key), PRIVATE_FILE_MODE, 'first-wins')
}

export function publishCertificate(path: string, certificate: X509Certificate): Promise<void> {
  return publish(path, certificate.toString(), PUBLIC_FILE_MODE, 'first-wins')
}

export function replaceCertificate(path: string, certificate: X509Certificate): Promise<void> {
  return publish(path, certificate.toString(), PUBLIC_FILE_MODE, 'replace')
}

export function failed(message: string, cause?: unknown): MeshError {
  return new MeshError('identity.authority', message, { cause })
}

async function publish(
  path: string,
  text: string,
  mode: number,
  how: 'first-wins' | 'replace',
): Promise<void> {
  const draft = join(dirname(path), `.draft-${randomBytes(8).toString('hex')}`)
  try {
    const file = await open(draft, 'wx', mode)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    if (how === 'replace') await rename(draft, path)
    else await link(draft, path)
  } catch (error) {
    if (how === 'first-wins' && codeOf(error) === 'EEXIST') return
    throw failed(`cannot write ${path}: ${errorText(error)}`, error)
  } finally {
    await rm(draft, { force: true })
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw failed(`cannot read ${path}: ${errorText(error)}`, error)
  }
}

function parsed<T>(path: string, what: string, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    throw failed(`${path} is not ${what}: ${errorText(error)}`, error)
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error ? Reflect.get(error, 'code') : undefined
}
