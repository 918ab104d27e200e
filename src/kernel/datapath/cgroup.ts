// cgroups as BPF sees them: an id and a depth.
import { readFileSync, statSync } from 'node:fs'
import { relative } from 'node:path'
import { MeshError } from '../../base/mesh-error.ts'

export interface CgroupPlace {
  /** What the helpers call cgroup id: the directory's inode. */
  readonly id: bigint
  /** The root has depth 0. */
  readonly level: number
}

/** Throws MeshError `datapath.cgroup` unless `path` is a directory below a cgroup v2 mount. */
export function cgroupPlace(path: string): CgroupPlace {
  const mount = cgroup2Mounts().find((point) => path === point || path.startsWith(`${point}/`))
  if (mount === undefined) {
    throw new MeshError(
      'datapath.cgroup',
      `${path} is not below a cgroup v2 mount (${cgroup2Mounts().join(', ') || 'none found'})`,
    )
  }
  return { id: cgroupId(path), level: relative(mount, path).split('/').filter(Boolean).length }
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
