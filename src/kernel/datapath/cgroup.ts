// cgroups as BPF sees them: an id and a depth.
import { readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { MeshError } from '../../base/mesh-error.ts'
import { LIMITS } from '../../model/limits.ts'

export interface CgroupPlace {
  /** What the helpers call cgroup id: the directory's inode. */
  readonly id: bigint
  /** The root has depth 0. */
  readonly level: number
}

/** Throws MeshError `datapath.cgroup` unless `path` is a directory below a cgroup v2 mount. */
export function cgroupPlace(path: string): CgroupPlace {
  return { id: cgroupId(path), level: namesBelow(mountOf(path), path).length }
}

/**
 * The names that lead from the root of the hierarchy to `path`, which need not exist. Throws
 * MeshError `datapath.cgroup` when the kernel's programs could not tell it from others.
 */
export function cgroupNames(path: string): readonly string[] {
  const names = namesBelow(mountOf(path), path)
  const refused = (why: string): MeshError =>
    new MeshError('datapath.cgroup', `the cgroup ${path} ${why}`)
  if (names.length === 0) throw refused('is the root, which holds everything: name one below it')
  if (names.length > LIMITS.cgroupDepthMax) {
    throw refused(`lies deeper than ${LIMITS.cgroupDepthMax}: name one above it`)
  }
  const long = names.find((name) => Buffer.byteLength(name) > LIMITS.cgroupNameBytesMax)
  if (long === undefined) return names
  throw refused(`has a name longer than ${LIMITS.cgroupNameBytesMax} bytes: rename ${long}`)
}

/** The cgroup that these names lead to, where the one `like` is mounted. */
export function cgroupPath(names: readonly string[], like: string): string {
  return join(mountOf(like), ...names)
}

/**
 * The highest cgroup on the way to `path` that holds neither the agents nor the watched workloads:
 * programs attached there see `path` come and go, and no two such places lie above one another.
 * Undefined below `workloads`, where programs are attached already. Throws MeshError
 * `datapath.cgroup` when there is no such place.
 */
export function attachmentOf(
  path: string,
  others: { readonly agent: string; readonly workloads: string },
): string | undefined {
  if (path.startsWith(`${others.workloads}/`)) return undefined
  const mount = mountOf(path)
  const names = cgroupNames(path)
  for (let depth = 1; depth <= names.length; depth++) {
    const place = join(mount, ...names.slice(0, depth))
    if (place === others.agent) break
    if (!isWithin(others.agent, place) && !isWithin(others.workloads, place)) return place
  }
  throw new MeshError(
    'datapath.cgroup',
    `the cgroup ${path} holds the agents (${others.agent}) or the watched workloads ` +
      `(${others.workloads}), or is theirs: name the cgroup of one service`,
  )
}

const isWithin = (path: string, above: string): boolean =>
  path === above || path.startsWith(`${above}/`)

const namesBelow = (mount: string, path: string): string[] =>
  relative(mount, path).split('/').filter(Boolean)

function mountOf(path: string): string {
  const mount = cgroup2Mounts().find((point) => path === point || path.startsWith(`${point}/`))
  if (mount !== undefined) return mount
  throw new MeshError(
    'datapath.cgroup',
    `${path} is not below a cgroup v2 mount (${cgroup2Mounts().join(', ') || 'none found'})`,
  )
}

export function cgroupId(path: string): bigint {
  try {
    return statSync(path, { bigint: true }).ino
  } catch (error) {
    throw new MeshError('datapath.cgroup', `the cgroup ${path} does not exist`, { cause: error })
  }
}

/** Throws unless this process is in `path` or below it: its sockets would not be known as ours. */
export function requireInside(path: string): void {
  const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? ''
  const mount = cgroup2Mounts().find((point) => path.startsWith(`${point}/`)) ?? ''
  const wanted = path.slice(mount.length)
  if (own === wanted || own.startsWith(`${wanted}/`)) return
  throw new MeshError(
    'datapath.cgroup',
    `the agent runs in cgroup ${own}, but must run in ${wanted} or below: start it there`,
  )
}

function cgroup2Mounts(): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(' - cgroup2 '))
    .map((line) => line.split(' ')[4] ?? '')
    .sort((a, b) => b.length - a.length)
}
