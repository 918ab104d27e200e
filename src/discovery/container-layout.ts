// Which container a cgroup belongs to, by the names that container runtimes give to cgroups.

export interface ContainerCgroup {
  readonly id: string
  /** The container's own cgroup: the path up to the segment that names it. */
  readonly path: string
}

/** systemd's scopes: Docker, containerd's CRI plugin, CRI-O, Podman, nerdctl, crun and runc. */
const SCOPE = /^(?:docker|cri-containerd|crio|libpod|nerdctl|crun|runc)-(.+)\.scope$/
/** Monitors of Podman and CRI-O: processes beside the container, on the node's own network. */
const MONITOR = /^(?:libpod|crio)-conmon-/
/** Plain directories: Docker, containerd, nerdctl (`ID`), Podman and CRI-O (`libpod-ID`). */
const DIRECTORY = /^(?:(?:libpod|crio|docker|cri-containerd)-)?([0-9a-f]{64})$/

/**
 * The outermost segment of `path` that names a container, because whoever may make cgroups inside
 * of a container could name one there after another.
 */
export function containerOfPath(path: string): ContainerCgroup | undefined {
  const segments = path.split('/')
  for (const [at, segment] of segments.entries()) {
    if (MONITOR.test(segment)) return undefined
    const id = (SCOPE.exec(segment) ?? DIRECTORY.exec(segment))?.[1]
    if (id !== undefined) return { id, path: segments.slice(0, at + 1).join('/') }
  }
  return undefined
}
