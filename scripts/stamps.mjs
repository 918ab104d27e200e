// Remembers which set-up step was done with which inputs: one file per step below .weft/, holding
// a hash. A step runs again when its inputs changed or its outputs are gone.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Hash over texts and the contents of files and directories (sorted, recursive). */
export function hashInputs({ texts = [], paths = [], except = [] }) {
  const hash = createHash('sha256')
  for (const text of texts) hash.update(`text:${text}\0`)
  for (const path of paths) addPath(hash, path, except)
  return hash.digest('hex')
}

function addPath(hash, path, except) {
  if (except.includes(path) || !existsSync(path)) return
  let entries
  try {
    entries = readdirSync(path)
  } catch {
    hash.update(`file:${path}\0`).update(readFileSync(path))
    return
  }
  for (const entry of entries.sort()) addPath(hash, join(path, entry), except)
}

export function isStamped(directory, step, hash) {
  try {
    return readFileSync(join(directory, `${step}.stamp`), 'utf8') === hash
  } catch {
    return false
  }
}

export function writeStamp(directory, step, hash) {
  const file = join(directory, `${step}.stamp`)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, hash)
}

/**
 * Whether what npm installed is what the lock file asks for. `locked` and `installed` are the
 * parsed package-lock.json and node_modules/.package-lock.json. Optional packages of another
 * processor are not expected.
 */
export function isInstalled(locked, installed) {
  const present = installed?.packages ?? {}
  return Object.entries(locked.packages ?? {}).every(([path, wanted]) => {
    if (path === '') return true
    const have = present[path]
    if (have !== undefined) return have.version === wanted.version
    return wanted.optional === true
  })
}
