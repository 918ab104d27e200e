// Where the programs of workloads are attached for those that share the node's network: at stable
// cgroups above them, whose pins are kept by cgroup id. Made as needed, and gone with the need.
import { existsSync, type FSWatcher, mkdirSync, readdirSync, rmdirSync, watch } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Log } from '../../base/log.ts'
import { errorText } from '../../base/mesh-error.ts'
import type { Kernel } from '../kernel.ts'
import { cgroupId } from './cgroup.ts'
import { dropLink, linkAt } from './links.ts'
import { ABOVE_HOSTS, type Programs, pinsOf } from './load.ts'

/** Pins of the lookup of the node's own namespace, beside those of cgroups. */
export const NODE_PINS = 'node'

export interface HostLinksParts {
  readonly kernel: Kernel
  readonly log: Log
  readonly programs: Programs
  /** Somebody removed or made a cgroup where programs are attached: `attach` them again. */
  readonly onReplaced: () => void
}

export class HostLinks {
  readonly #parts: HostLinksParts
  readonly #directory: string
  /** Cgroups that were not there before; they leave with the programs, if they can. */
  readonly #made = new Set<string>()
  readonly #watchers = new Map<string, FSWatcher>()

  constructor(parts: HostLinksParts, options: { readonly pins: string }) {
    this.#parts = parts
    this.#directory = pinsOf(options.pins).hosts
  }

  /** Attaches at every one of `places`, running the programs of now; makes those that are absent. */
  async attach(places: Iterable<string>): Promise<void> {
    const { kernel, programs } = this.#parts
    for (const path of new Set(places)) {
      this.#make(path)
      this.#watch(path)
      const id = cgroupId(path)
      for (const [family, name] of ABOVE_HOSTS) {
        const program = programs.program(family, name)
        await linkAt(kernel, join(this.#directory, String(id), name), program, {
          matches: (info) => info.cgroupId === id,
          attach: () => program.attachCgroup(path),
        })
      }
    }
  }

  /** Detaches everywhere but at `places`. */
  detachExcept(places: ReadonlySet<string>): void {
    const kept = new Set([...places].filter((path) => existsSync(path)).map(idText))
    for (const id of this.#pinned()) if (!kept.has(id)) this.#drop(id)
    for (const path of this.#watchers.keys()) if (!places.has(path)) this.#unwatch(path)
    const isKept = (path: string): boolean =>
      [...places].some((place) => place === path || place.startsWith(`${path}/`))
    for (const path of [...this.#made].reverse()) {
      if (isKept(path)) continue
      this.#made.delete(path)
      removeEmpty(path)
    }
  }

  /** What is attached stays. */
  close(): void {
    for (const path of this.#watchers.keys()) this.#unwatch(path)
  }

  #watch(path: string): void {
    if (this.#watchers.has(path)) return
    const failed = (error: unknown): void => {
      const effect = 'if it is removed, its workloads are captured only after the next change'
      this.#parts.log.warn('datapath.cgroup-unwatched', { path, error: errorText(error), effect })
    }
    try {
      const watcher = watch(dirname(path), { persistent: false }, (_, name) => {
        if (name === basename(path)) this.#parts.onReplaced()
      })
      watcher.on('error', failed)
      this.#watchers.set(path, watcher)
    } catch (error) {
      failed(error)
    }
  }

  #unwatch(path: string): void {
    this.#watchers.get(path)?.close()
    this.#watchers.delete(path)
  }

  #make(path: string): void {
    if (existsSync(path)) return
    const above = dirname(path)
    if (!existsSync(above)) this.#make(above)
    try {
      mkdirSync(path)
    } catch (error) {
      // Whoever starts a service may do the same.
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
      throw error
    }
    this.#made.add(path)
    this.#parts.log.info('datapath.cgroup-made', { path })
  }

  #pinned(): string[] {
    if (!existsSync(this.#directory)) return []
    return readdirSync(this.#directory).filter((name) => name !== NODE_PINS)
  }

  #drop(id: string): void {
    const directory = join(this.#directory, id)
    for (const name of readdirSync(directory)) dropLink(this.#parts.kernel, join(directory, name))
    rmdirSync(directory)
  }
}

const idText = (path: string): string => String(cgroupId(path))

/** Somebody may use it by now. */
function removeEmpty(path: string): void {
  try {
    rmdirSync(path)
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (!['ENOENT', 'EBUSY', 'ENOTEMPTY'].includes(code)) throw error
  }
}
