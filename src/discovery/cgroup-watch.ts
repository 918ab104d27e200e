// Watches a cgroup subtree for processes: tells which cgroups below it are populated, as they
// fill and empty. Source of events: inotify on the directories and on their `cgroup.events`, which
// the kernel modifies when `populated` changes (cgroup-v2 documentation, "Basic Operations").
import { type FSWatcher, readdirSync, readFileSync, watch } from 'node:fs'
import { join, relative } from 'node:path'
import type { Log } from '../base/log.ts'

export interface PopulatedCgroup {
  /** Relative to the watched cgroup, e.g. `shop_web` or `shop_web/container`. */
  readonly path: string
  readonly pids: readonly number[]
}

export interface CgroupWatchOptions {
  readonly root: string
  /** Directories below the root that are looked at. */
  readonly depthMax: number
}

export class CgroupWatch {
  readonly #log: Log
  readonly #options: CgroupWatchOptions
  readonly #watchers = new Map<string, FSWatcher[]>()
  readonly #onChange: () => void
  #stopped = false

  /** `onChange` says that something changed somewhere; `populated` tells the state. */
  constructor(
    parts: { readonly log: Log; readonly onChange: () => void },
    options: CgroupWatchOptions,
  ) {
    this.#log = parts.log
    this.#onChange = parts.onChange
    this.#options = options
  }

  start(): void {
    this.#follow(this.#options.root, 0)
  }

  stop(): void {
    this.#stopped = true
    for (const watchers of this.#watchers.values()) for (const each of watchers) each.close()
    this.#watchers.clear()
  }

  /** Every cgroup below the root that holds processes of its own, sorted by path. */
  populated(): readonly PopulatedCgroup[] {
    const found: PopulatedCgroup[] = []
    const visit = (directory: string, depth: number): void => {
      for (const name of childDirectories(directory)) {
        const path = join(directory, name)
        this.#follow(path, depth + 1)
        const pids = readPids(path)
        if (pids.length > 0) found.push({ path: relative(this.#options.root, path), pids })
        if (depth + 1 < this.#options.depthMax) visit(path, depth + 1)
      }
    }
    visit(this.#options.root, 0)
    return found.sort((a, b) => (a.path < b.path ? -1 : 1))
  }

  #follow(directory: string, depth: number): void {
    if (this.#stopped || this.#watchers.has(directory)) return
    const watchers: FSWatcher[] = []
    try {
      if (depth < this.#options.depthMax) watchers.push(watch(directory, this.#changed))
      if (depth > 0) watchers.push(watch(join(directory, 'cgroup.events'), this.#changed))
    } catch (error) {
      for (const each of watchers) each.close()
      // Gone between listing and watching: its parent's event has been or will be told.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        this.#log.warn('enrolment.watch-failed', { directory, error: String(error) })
      }
      return
    }
    for (const each of watchers) each.on('error', () => this.#forget(directory))
    this.#watchers.set(directory, watchers)
  }

  readonly #changed = (): void => {
    if (this.#stopped) return
    for (const directory of this.#watchers.keys()) {
      if (!exists(directory)) this.#forget(directory)
    }
    this.#onChange()
  }

  #forget(directory: string): void {
    for (const each of this.#watchers.get(directory) ?? []) each.close()
    this.#watchers.delete(directory)
  }
}

function childDirectories(directory: string): readonly string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
  } catch {
    return [] // removed meanwhile
  }
}

/** Processes of the cgroup itself; empty when it is gone. */
export function readPids(directory: string): readonly number[] {
  try {
    return readFileSync(join(directory, 'cgroup.procs'), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map(Number)
      .filter((pid) => pid > 0)
  } catch {
    return []
  }
}

function exists(directory: string): boolean {
  try {
    readdirSync(directory)
    return true
  } catch {
    return false
  }
}
