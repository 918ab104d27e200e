// Reads state files of other programs again and again, but parses only what has changed. Bounded;
// what cannot be read is ignored and told once.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import { LIMITS } from '../model/limits.ts'

interface Kept {
  readonly stamp: string
  readonly value: unknown
}

export class StateFiles {
  readonly #log: Log
  #kept = new Map<string, Kept>()
  #seen = new Map<string, Kept>()

  constructor(log: Log) {
    this.#log = log
  }

  /** Forgets files that were not read since the last call. */
  sweep(): void {
    this.#kept = this.#seen
    this.#seen = new Map()
  }

  /** What `parse` makes of the file; undefined when it is absent, too big or not of the format. */
  read<T>(file: string, parse: (text: string) => T | undefined): T | undefined {
    const stamp = stampOf(file)
    if (stamp === undefined) return undefined
    const known = this.#seen.get(file) ?? this.#kept.get(file)
    const kept = known?.stamp === stamp ? known : { stamp, value: this.#parse(file, parse) }
    this.#seen.set(file, kept)
    return kept.value as T | undefined
  }

  /** Names in a directory, sorted; none when it is absent. */
  list(directory: string): readonly string[] {
    let names: string[]
    try {
      names = readdirSync(directory).sort()
    } catch {
      return [] // this runtime is not in use here
    }
    if (names.length > LIMITS.containersMax) {
      this.#ignored(directory, `${names.length} entries, at most ${LIMITS.containersMax}`)
    }
    return names.slice(0, LIMITS.containersMax)
  }

  #parse<T>(file: string, parse: (text: string) => T | undefined): T | undefined {
    try {
      if (statSync(file).size > LIMITS.containerStateBytesMax) {
        this.#ignored(file, `more than ${LIMITS.containerStateBytesMax} bytes`)
        return undefined
      }
      const value = parse(readFileSync(file, 'utf8'))
      if (value === undefined) this.#ignored(file, 'not of the format its name promises')
      return value
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.#ignored(file, errorText(error))
      return undefined
    }
  }

  /** Once per content: what was parsed is not parsed again. */
  #ignored(file: string, why: string): void {
    const remedy = 'its container is not found by name: match it by cgroup=<path> or by full id'
    this.#log.warn('containers.state-ignored', { file, why, remedy })
  }
}

function stampOf(file: string): string | undefined {
  try {
    const { ino, size, mtimeMs } = statSync(file)
    return `${ino} ${size} ${mtimeMs}`
  } catch {
    return undefined
  }
}

/** Directories one below `parent`, which container runtimes name after their namespaces. */
export function directoriesBelow(files: StateFiles, parent: string): readonly string[] {
  return files.list(parent).map((name) => join(parent, name))
}
