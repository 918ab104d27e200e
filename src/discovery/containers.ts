// Which container each cgroup belongs to and what it is called: from the cgroup's path, and from
// the state that container runtimes keep on disk. Asks no daemon, so that every runtime will do.
import { join } from 'node:path'
import type { Log } from '../base/log.ts'
import type { ContainerFacts } from '../model/container.ts'
import type { PopulatedCgroup } from './cgroup-watch.ts'
import { containerOfPath } from './container-layout.ts'
import {
  type ContainerRecord,
  readBundle,
  readCrunStatus,
  readDockerConfig,
  readRuncState,
  readStorageList,
} from './container-records.ts'
import { directoriesBelow, StateFiles } from './state-files.ts'

export interface ContainersOptions {
  /** The watched cgroup, as a path below the root of cgroup v2, without a leading slash. */
  readonly watched: string
  /** Where the runtimes' directories are; `/` but in tests. */
  readonly root?: string
}

/** Of runc itself and of those who run it: one directory per container. */
const RUNC = ['run/runc', 'run/docker/runtime-runc/moby']
/** The same, below one directory per namespace of containerd. */
const RUNC_OF_CONTAINERD = 'run/containerd/runc'
const CRUN = 'run/crun'
const DOCKER = 'var/lib/docker/containers'
const BUNDLES_OF_CONTAINERD = 'run/containerd/io.containerd.runtime.v2.task'
/** Podman's and CRI-O's lists, kept ones and those that end with the container or the machine. */
const STORAGE = ['var/lib/containers/storage', 'run/containers/storage'].flatMap((root) =>
  ['overlay', 'vfs', 'btrfs'].flatMap((driver) => [
    `${root}/${driver}-containers/containers.json`,
    `${root}/${driver}-containers/volatile-containers.json`,
  ]),
)

export class Containers {
  readonly #files: StateFiles
  readonly #root: string
  readonly #watched: string

  constructor(parts: { readonly log: Log }, options: ContainersOptions) {
    this.#files = new StateFiles(parts.log)
    this.#root = options.root ?? '/'
    this.#watched = options.watched
  }

  /**
   * The container of each of the given cgroups that is one's, by path below the watched cgroup.
   * Reads state files, but parses only those that changed; a few microseconds per file.
   */
  look(groups: readonly PopulatedCgroup[]): ReadonlyMap<string, ContainerFacts> {
    const found = new Map<string, ContainerFacts>()
    if (groups.length === 0) return found
    const running = this.#runningByCgroup(groups)
    const listed = this.#listedById()
    for (const { path } of groups) {
      const facts = this.#factsOf(path, running, listed)
      if (facts !== undefined) found.set(path, facts)
    }
    this.#files.sweep()
    return found
  }

  #factsOf(
    path: string,
    running: ReadonlyMap<string, ContainerRecord>,
    listed: ReadonlyMap<string, ContainerRecord>,
  ): ContainerFacts | undefined {
    const byState = outermost(path, running)
    const byName = containerOfPath(path)
    // Of a container inside of another, whoever is outside counts.
    const isOutside = (byName?.path.length ?? Infinity) >= (byState?.path.length ?? Infinity)
    const record = isOutside ? byState?.record : undefined
    const id = record?.id ?? byName?.id
    if (id === undefined) return undefined
    const records = [record, listed.get(id), ...this.#recordsOf(id)].filter((r) => r !== undefined)
    const names = new Set(records.flatMap((each) => each.names))
    const sandbox = records.find((each) => each.sandbox !== undefined)?.sandbox ?? id
    return { id, names: [...names].sort(), sandbox }
  }

  /** Containers whose runtime says in which cgroup they run, where that is still true. */
  #runningByCgroup(groups: readonly PopulatedCgroup[]): ReadonlyMap<string, ContainerRecord> {
    const cgroupOf = new Map(groups.flatMap(({ path, pids }) => pids.map((pid) => [pid, path])))
    const found = new Map<string, ContainerRecord>()
    const add = (record: ContainerRecord | undefined): void => {
      if (record?.cgroup === undefined || record.pid === undefined) return
      const path = this.#belowWatched(record.cgroup)
      // A runtime that was killed leaves files of containers that are no more.
      const inside = cgroupOf.get(record.pid)
      if (path === undefined || !`${inside}/`.startsWith(`${path}/`)) return
      found.set(path, record)
    }
    const namespaces = directoriesBelow(this.#files, join(this.#root, RUNC_OF_CONTAINERD))
    for (const root of [...RUNC.map((each) => join(this.#root, each)), ...namespaces]) {
      for (const id of this.#files.list(root)) {
        add(this.#files.read(join(root, id, 'state.json'), readRuncState))
      }
    }
    const crun = join(this.#root, CRUN)
    for (const id of this.#files.list(crun)) {
      const status = this.#files.read(join(crun, id, 'status'), (text) => readCrunStatus(text, id))
      const bundle = this.#files.read(join(crun, id, 'config.json'), (text) => readBundle(text, id))
      if (status !== undefined) add(joined(status, bundle))
    }
    return found
  }

  #listedById(): ReadonlyMap<string, ContainerRecord> {
    const lists = STORAGE.flatMap(
      (file) => this.#files.read(join(this.#root, file), readStorageList) ?? [],
    )
    return new Map(lists.map((record) => [record.id, record]))
  }

  /** What is kept in a place that only the id leads to. */
  #recordsOf(id: string): readonly ContainerRecord[] {
    // An id comes from a file name, but one of a cgroup.
    if (id === '.' || id === '..' || id.includes('/')) return []
    const docker = join(this.#root, DOCKER, id, 'config.v2.json')
    const namespaces = directoriesBelow(this.#files, join(this.#root, BUNDLES_OF_CONTAINERD))
    const bundles = namespaces.map((each) =>
      this.#files.read(join(each, id, 'config.json'), (text) => readBundle(text, id)),
    )
    return [this.#files.read(docker, readDockerConfig), ...bundles].filter((r) => r !== undefined)
  }

  #belowWatched(cgroup: string): string | undefined {
    const prefix = this.#watched === '' ? '' : `${this.#watched}/`
    return cgroup.startsWith(prefix) && cgroup.length > prefix.length
      ? cgroup.slice(prefix.length)
      : undefined
  }
}

/** Of the cgroup itself and those around it, the outermost that is a container's. */
function outermost(
  path: string,
  running: ReadonlyMap<string, ContainerRecord>,
): { readonly path: string; readonly record: ContainerRecord } | undefined {
  const segments = path.split('/')
  for (const at of segments.keys()) {
    const around = segments.slice(0, at + 1).join('/')
    const record = running.get(around)
    if (record !== undefined) return { path: around, record }
  }
  return undefined
}

function joined(status: ContainerRecord, bundle: ContainerRecord | undefined): ContainerRecord {
  if (bundle === undefined) return status
  return { ...bundle, ...status, names: [...status.names, ...bundle.names] }
}
