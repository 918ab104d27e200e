// Configuration from a directory of YAML and JSON files, watched: for whoever runs the mesh
// without a control plane. Write files by rename: a file written in place may be read half-way.
import { hash } from 'node:crypto'
import { type FSWatcher, statSync, watch } from 'node:fs'
import { hasErrors, type Issue } from '../api/issue.ts'
import { fileIssue, parseFile, unreadableFile } from '../api/parse-file.ts'
import { EMPTY_WORLD, type World } from '../api/world.ts'
import type { Clock, Timer } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import { Serial } from '../base/serial.ts'
import { listDirectory, readConfigFile } from './config-directory.ts'
import { type KnownFile, nextKnown, settle } from './last-good.ts'

export interface FileUpdate {
  /** In force as far as files go: the same object when nothing in it changed. */
  readonly world: World
  /** Everything that is wrong now, in every file. */
  readonly issues: readonly Issue[]
  /** Increases whenever `world` is another one; 0 before the first. */
  readonly version: number
  /** There was never a world that could be put in force; `world` is empty then. */
  readonly refused: boolean
}

export interface FileSourceParts {
  readonly log: Log
  readonly clock: Clock
  /** Called when the world or the issues changed, not for what `start` returns. */
  readonly onChange: (update: FileUpdate) => void
}

export interface FileSourceOptions {
  readonly directory: string
  /** How long the directory must be quiet before it is read again. */
  readonly debounceMs: number
}

/** A directory that never becomes quiet is read after this many debounce times. */
const DEBOUNCE_ROUNDS_MAX = 20

/** How often a directory that does not exist is looked for. */
const ROOT_RETRY_MS = 2_000

interface DirectoryWatcher {
  readonly watcher: FSWatcher
  readonly ino: number
}

/** The directory as it is now, without watching it. */
export async function loadDirectory(directory: string): Promise<FileUpdate> {
  const reader = new DirectoryReader(directory)
  await reader.read()
  return reader.update
}

export class FileSource {
  readonly #parts: FileSourceParts
  readonly #options: FileSourceOptions
  readonly #reader: DirectoryReader
  readonly #serial = new Serial()
  readonly #watchers = new Map<string, DirectoryWatcher>()
  #timer: Timer | undefined
  #firstEventMs: number | undefined
  #stopped = false

  constructor(parts: FileSourceParts, options: FileSourceOptions) {
    this.#parts = parts
    this.#options = options
    this.#reader = new DirectoryReader(options.directory)
  }

  /** Reads the directory and begins to watch it. Never rejects: what is wrong is an issue. */
  async start(): Promise<FileUpdate> {
    await this.#serial.run(() => this.#read())
    return this.#reader.update
  }

  /** What was read last: also what changed before anybody listened. */
  get current(): FileUpdate {
    return this.#reader.update
  }

  /** Reads the directory again now; resolves when that is done. */
  async reload(): Promise<void> {
    this.#disarm()
    await this.#serial.run(async () => {
      if (this.#stopped) return
      const changed = await this.#read()
      if (changed && !this.#stopped) this.#parts.onChange(this.#reader.update)
    })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#disarm()
    for (const { watcher } of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
    await this.#serial.idle()
  }

  async #read(): Promise<boolean> {
    const { changed, directories } = await this.#reader.read((path) => this.#watch(path))
    for (const [path, { watcher }] of this.#watchers) {
      if (directories.has(path)) continue
      watcher.close()
      this.#watchers.delete(path)
    }
    // Without its root nothing is left that could tell of a change.
    if (directories.size === 0 && !this.#stopped) {
      this.#timer = this.#parts.clock.after(ROOT_RETRY_MS, () => void this.reload())
    }
    return changed
  }

  #watch(path: string): void {
    if (this.#stopped) return
    try {
      const { ino } = statSync(path)
      const known = this.#watchers.get(path)
      // Another directory may have taken the place of the one that is watched.
      if (known?.ino === ino) return
      known?.watcher.close()
      const watcher = watch(path, { persistent: false }, () => this.#touched())
      watcher.on('error', () => this.#touched())
      this.#watchers.set(path, { watcher, ino })
    } catch (error) {
      const remedy = 'changes there are seen at the next reload only'
      this.#parts.log.warn('files.watch-failed', { path, error: errorText(error), remedy })
    }
  }

  #touched(): void {
    if (this.#stopped) return
    const { clock } = this.#parts
    const { debounceMs } = this.#options
    const nowMs = clock.nowMs()
    this.#firstEventMs ??= nowMs
    const waitedMs = nowMs - this.#firstEventMs
    if (this.#timer !== undefined && waitedMs >= debounceMs * DEBOUNCE_ROUNDS_MAX) return
    this.#timer?.cancel()
    this.#timer = clock.after(debounceMs, () => void this.reload())
  }

  #disarm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#firstEventMs = undefined
  }
}

interface ReadFile extends KnownFile {
  readonly stamp: string
  /** Of the content, which often stays the same when the file is replaced. */
  readonly digest: string
}

/** The memory between readings: each file's last good content, and the world they made. */
class DirectoryReader {
  readonly #directory: string
  readonly #files = new Map<string, ReadFile>()
  #failures: readonly Issue[] | undefined
  /** What the world in force was made of: each file's content, by identity. */
  #madeOf: readonly KnownFile['good'][] = []
  #update: FileUpdate = { world: EMPTY_WORLD, issues: [], version: 0, refused: true }

  constructor(directory: string) {
    this.#directory = directory
  }

  get update(): FileUpdate {
    return this.#update
  }

  async read(
    beforeReading?: (directory: string) => void,
  ): Promise<{ changed: boolean; directories: ReadonlySet<string> }> {
    const options = beforeReading === undefined ? {} : { beforeReading }
    const listing = await listDirectory(this.#directory, options)
    const failures = listing.failures.map(({ path, message }) => fileIssue(path, message))
    let changed = this.#forget(listing.files, listing.failures)
    for (const path of listing.files) changed = (await this.#readFile(path)) || changed
    if (changed || !sameIssues(this.#failures, failures)) {
      this.#failures = failures
      this.#settle()
      changed = true
    }
    return { changed, directories: new Set(listing.directories) }
  }

  /** Files that are gone; those below a directory that could not be read are kept. */
  #forget(present: readonly string[], failures: readonly { readonly path: string }[]): boolean {
    const paths = new Set(present)
    let changed = false
    for (const path of this.#files.keys()) {
      const unknown = failures.some((failure) => path.startsWith(`${failure.path}/`))
      if (!paths.has(path) && !unknown) changed = this.#files.delete(path) || changed
    }
    return changed
  }

  async #readFile(path: string): Promise<boolean> {
    const known = this.#files.get(path)
    const content = await readConfigFile(path, known?.stamp)
    if (content.kind === 'unchanged') return false
    if (content.kind === 'gone') return this.#files.delete(path)
    const digest = hash('sha256', content.kind === 'text' ? content.text : content.message)
    if (known?.digest === digest) {
      this.#files.set(path, { ...known, stamp: content.stamp })
      return false
    }
    const parsed =
      content.kind === 'text'
        ? parseFile(path, content.text)
        : unreadableFile(path, content.message)
    this.#files.set(path, { ...nextKnown(known, parsed), stamp: content.stamp, digest })
    return true
  }

  #settle(): void {
    const before = this.#update
    const failures = this.#failures ?? []
    const files = [...this.#files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, file]) => file)
    const settled = settle(files)
    const issues = [...failures, ...settled.issues]
    // A directory that cannot be read hides files that may restrict.
    const world = hasErrors(failures) ? undefined : settled.world
    const madeOf = files.map(({ good }) => good).filter((good) => good !== undefined)
    const same = madeOf.length === this.#madeOf.length && madeOf.every(isAt(this.#madeOf))
    if (world === undefined || (same && !before.refused)) {
      this.#update = { ...before, issues }
      return
    }
    this.#madeOf = madeOf
    this.#update = { world, issues, version: before.version + 1, refused: false }
  }
}

const isAt =
  <T>(others: readonly T[]) =>
  (each: T, at: number): boolean =>
    each === others[at]

function sameIssues(a: readonly Issue[] | undefined, b: readonly Issue[]): boolean {
  return a !== undefined && JSON.stringify(a) === JSON.stringify(b)
}
