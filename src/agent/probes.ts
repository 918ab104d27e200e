// Tells the kernel which cgroups of the node may probe every workload: fewer before anything else
// of a change, more after it.
import { join } from 'node:path'
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import type { Datapath } from '../kernel/datapath.ts'
import type { MeshSettings } from '../model/mesh-settings.ts'

export interface ProbesParts {
  readonly datapath: Pick<Datapath, 'setProbes'>
  readonly log: Log
}

export class Probes {
  readonly #parts: ProbesParts
  /** Where cgroup v2 is mounted. */
  readonly #cgroup2: string
  /** Paths in force; undefined while nobody knows what the kernel holds. */
  #current: readonly string[] | undefined

  constructor(parts: ProbesParts, options: { readonly cgroup2: string }) {
    this.#parts = parts
    this.#cgroup2 = options.cgroup2
  }

  /** Takes away what `mesh` does not name; after a start, what an agent before named. */
  restrict({ probeCgroups }: MeshSettings): Promise<void> {
    const current = this.#current
    const kept = probeCgroups.filter((path) => current === undefined || current.includes(path))
    return this.#set(kept)
  }

  /** Adds what `mesh` names. A cgroup that cannot be known costs its probes, nothing else. */
  allow({ probeCgroups }: MeshSettings): Promise<void> {
    return this.#set(probeCgroups)
  }

  async #set(paths: readonly string[]): Promise<void> {
    const current = this.#current
    if (current?.length === paths.length && current.every((path) => paths.includes(path))) return
    this.#current = undefined
    try {
      await this.#parts.datapath.setProbes(paths.map((path) => join(this.#cgroup2, path)))
      this.#current = paths
    } catch (error) {
      this.#parts.log.error('probes.failed', { cgroups: paths, error: errorText(error) })
    }
  }
}
