// Tells when a directory on the way to a cgroup is made or removed: what was attached to the one of
// before is not attached to the new one of its name. Source of events: inotify.
import { type FSWatcher, statSync, watch } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import type { Log } from '../base/log.ts'

interface Followed {
  readonly watcher: FSWatcher
  readonly inode: number
  /** Names in it that lead on. */
  readonly names: Set<string>
}

export class PathWatch {
  readonly #log: Log
  readonly #root: string
  readonly #onChange: () => void
  readonly #followed = new Map<string, Followed>()

  constructor(
    parts: { readonly log: Log; readonly onChange: () => void },
    /** What is never removed. */
    options: { readonly root: string },
  ) {
    this.#log = parts.log
    this.#onChange = parts.onChange
    this.#root = options.root
  }

  /** Watches the ways to these and no others. Call it again when something has changed. */
  follow(paths: Iterable<string>): void {
    const names = new Map<string, Set<string>>()
    for (const path of paths) {
      for (const directory of directoriesTo(this.#root, path)) {
        const below = relative(directory, path).split('/')[0] ?? ''
        names.set(directory, (names.get(directory) ?? new Set()).add(below))
      }
    }
    for (const [directory, { inode }] of this.#followed) {
      if (!names.has(directory) || inodeOf(directory) !== inode) this.#forget(directory)
    }
    for (const [directory, below] of names) this.#watch(directory, below)
  }

  stop(): void {
    this.follow([])
  }

  #watch(directory: string, names: Set<string>): void {
    const known = this.#followed.get(directory)
    if (known !== undefined) {
      known.names.clear()
      for (const name of names) known.names.add(name)
      return
    }
    const inode = inodeOf(directory)
    // Its parent tells when it is made.
    if (inode === 0) return
    try {
      const watcher = watch(directory, (_, name) => {
        if (name === null || names.has(name)) this.#onChange()
      })
      watcher.on('error', () => this.#forget(directory))
      this.#followed.set(directory, { watcher, inode, names })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      this.#log.warn('enrolment.watch-failed', { directory, error: String(error) })
    }
  }

  #forget(directory: string): void {
    this.#followed.get(directory)?.watcher.close()
    this.#followed.delete(directory)
  }
}

/** Which directories lead to `path` at this moment: another text when one was made anew. */
export function wayTo(root: string, path: string): string {
  return directoriesTo(root, path).map(inodeOf).join('/')
}

/** From the root down, without `path` itself. */
function directoriesTo(root: string, path: string): readonly string[] {
  const directories: string[] = []
  const names = relative(root, dirname(path)).split('/').filter(Boolean)
  for (let depth = 0; depth <= names.length; depth++) {
    directories.push(join(root, ...names.slice(0, depth)))
  }
  return directories
}

/** 0 while there is none. */
function inodeOf(directory: string): number {
  return statSync(directory, { throwIfNoEntry: false })?.ino ?? 0
}
