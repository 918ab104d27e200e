// Reads a directory tree of configuration as it is at one moment: which files count, and their
// text. Symbolic links are followed, so that Kubernetes' `..data` swaps and links elsewhere work.
import { type FileHandle, open, readdir, realpath, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { refusalOfSize } from '../api/parse-file.ts'
import { errorText } from '../base/mesh-error.ts'
import { LIMITS } from '../model/limits.ts'

export interface DirectoryListing {
  /** Paths of files that count, sorted. */
  readonly files: readonly string[]
  /** Every directory that was read, and those that links lead into: what to watch. */
  readonly directories: readonly string[]
  /** Directories that could not be read: what is below them is unknown, not absent. */
  readonly failures: readonly { readonly path: string; readonly message: string }[]
}

/** Sub-directories are followed this deep. */
const DEPTH_MAX = 16
const EXTENSIONS = /\.(yaml|yml|json)$/

export interface ListOptions {
  /** Called before a directory is read, so that no change after the reading is missed. */
  readonly beforeReading?: (directory: string) => void
}

/** Hidden names and a directory `ca` at the root do not count. */
export async function listDirectory(
  root: string,
  options: ListOptions = {},
): Promise<DirectoryListing> {
  const files: string[] = []
  const directories = new Set<string>()
  const failures: { path: string; message: string }[] = []
  const visited = new Set<string>()
  const enter = (directory: string): void => {
    if (directories.has(directory)) return
    directories.add(directory)
    options.beforeReading?.(directory)
  }
  const read = async (directory: string, depth: number): Promise<void> => {
    const real = await realpath(directory)
    if (visited.has(real)) return
    visited.add(real)
    enter(directory)
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name)
      if (entry.name.startsWith('.') || (depth === 0 && entry.name === 'ca')) continue
      const info = entry.isSymbolicLink() ? await stat(path).catch(() => undefined) : entry
      if (info?.isDirectory()) await tryRead(path, depth + 1)
      else if (EXTENSIONS.test(entry.name)) {
        if (entry.isSymbolicLink()) enter(dirname(await realpath(path).catch(() => path)))
        files.push(path)
      }
    }
  }
  const tryRead = async (directory: string, depth: number): Promise<void> => {
    try {
      if (depth > DEPTH_MAX) throw new Error(`nested more than ${DEPTH_MAX} directories deep`)
      await read(directory, depth)
    } catch (error) {
      const gone = (error as NodeJS.ErrnoException).code === 'ENOENT' && depth > 0
      if (!gone) failures.push({ path: directory, message: directoryMessage(error) })
    }
  }
  await tryRead(root, 0)
  if (files.length > LIMITS.configFilesMax) {
    const message = `holds ${files.length} files, more than the ${LIMITS.configFilesMax} allowed`
    failures.push({ path: root, message })
    files.length = 0
  }
  return { files: files.sort(), directories: [...directories], failures }
}

function directoryMessage(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'ENOENT':
      return 'does not exist; create it or name another directory'
    case 'ENOTDIR':
      return 'is not a directory; name a directory of YAML files'
    case 'EACCES':
      return 'may not be read; check its permissions'
    default:
      return `cannot be read: ${errorText(error)}`
  }
}

/** `stamp` changes whenever the file's content may have. */
export type FileContent =
  | { readonly kind: 'text'; readonly stamp: string; readonly text: string }
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'refused'; readonly stamp: string; readonly message: string }

/** Reads a file unless its stamp is still `knownStamp`. Never returns a mixture of two writes. */
export async function readConfigFile(
  path: string,
  knownStamp: string | undefined,
): Promise<FileContent> {
  let handle: FileHandle | undefined
  try {
    handle = await open(path, 'r')
    for (let attempt = 0; attempt < 3; attempt++) {
      const before = await stampOf(handle)
      if (before.stamp === knownStamp) return { kind: 'unchanged' }
      const refusal = before.isFile ? refusalOfSize(before.bytes) : 'is not a regular file'
      if (refusal !== undefined) return { kind: 'refused', stamp: before.stamp, message: refusal }
      const text = await readText(handle, before.bytes)
      const after = await stampOf(handle)
      if (after.stamp !== before.stamp) continue
      if (text === undefined) {
        return { kind: 'refused', stamp: before.stamp, message: 'is not text in UTF-8' }
      }
      return { kind: 'text', stamp: before.stamp, text }
    }
    return { kind: 'refused', stamp: '', message: 'is being written all the time' }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { kind: 'gone' }
    return { kind: 'refused', stamp: '', message: `cannot be read: ${errorText(error)}` }
  } finally {
    await handle?.close()
  }
}

async function stampOf(handle: FileHandle) {
  const info = await handle.stat({ bigint: true })
  const stamp = [info.dev, info.ino, info.size, info.mtimeNs, info.ctimeNs].join(' ')
  return { stamp, bytes: Number(info.size), isFile: info.isFile() }
}

async function readText(handle: FileHandle, bytes: number): Promise<string | undefined> {
  const buffer = new Uint8Array(bytes)
  let filled = 0
  while (filled < bytes) {
    const { bytesRead } = await handle.read(buffer, filled, bytes - filled, filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, filled))
  } catch {
    return undefined
  }
}
