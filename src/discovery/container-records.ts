// What the state files of container runtimes say of a container: pure readers, one per format.
// Each gives undefined for what is JSON but not of that format, and throws for what is not JSON.

export interface ContainerRecord {
  readonly id: string
  readonly names: readonly string[]
  /** Id of the container whose network it shares. */
  readonly sandbox?: string
  /** Path of its cgroup below the root of cgroup v2, without a leading slash. */
  readonly cgroup?: string
  /** Its first process, which is in that cgroup or below it while the record is true. */
  readonly pid?: number
}

type Fields = Readonly<Record<string, unknown>>

/** `state.json` of runc, which Docker and containerd keep one of as well. */
export function readRuncState(text: string): ContainerRecord | undefined {
  const state = fields(JSON.parse(text))
  const id = string(state.id)
  if (id === undefined) return undefined
  const config = fields(state.config)
  const unified = string(fields(state.cgroup_paths)[''])
  const path = unified === undefined ? string(fields(config.cgroups).path) : withoutMount(unified)
  return {
    id,
    ...named(annotationsOfList(config.labels), [id]),
    ...placed(path, state.init_process_pid),
  }
}

/** `status` of crun, in the directory that is called like the container. */
export function readCrunStatus(text: string, id: string): ContainerRecord | undefined {
  const status = fields(JSON.parse(text))
  const path = string(status['cgroup-path'])
  return path === undefined ? undefined : { id, names: [id], ...placed(path, status.pid) }
}

/** `config.json` of an OCI bundle, of which only the annotations are read. */
export function readBundle(text: string, id: string): ContainerRecord | undefined {
  return { id, ...named(fields(fields(JSON.parse(text)).annotations), []) }
}

/** `config.v2.json` of Docker. */
export function readDockerConfig(text: string): ContainerRecord | undefined {
  const config = fields(JSON.parse(text))
  const id = string(config.ID)
  if (id === undefined) return undefined
  const name = string(config.Name)?.replace(/^\//, '')
  const labels = fields(fields(config.Config).Labels)
  return { id, ...named(labels, name === undefined ? [] : [name]) }
}

/** `containers.json` of the storage that Podman and CRI-O share: all containers in one list. */
export function readStorageList(text: string): readonly ContainerRecord[] | undefined {
  const list: unknown = JSON.parse(text)
  if (!Array.isArray(list)) return undefined
  return list.flatMap((each) => {
    const { id, names } = fields(each)
    if (typeof id !== 'string' || !Array.isArray(names)) return []
    return { id, names: names.filter((name) => typeof name === 'string') }
  })
}

/**
 * Names and sandbox from annotations or labels. A container of Kubernetes is called by its name,
 * by `namespace/pod` like all of its pod, and by `namespace/pod/name`.
 */
function named(
  annotations: Fields,
  own: readonly string[],
): { names: readonly string[]; sandbox?: string } {
  const first = (...keys: readonly string[]) =>
    keys.map((key) => string(annotations[key])).find((value) => value !== undefined)
  const name = first('io.kubernetes.cri.container-name', 'io.kubernetes.container.name')
  const pod = first('io.kubernetes.cri.sandbox-name', 'io.kubernetes.pod.name')
  const namespace = first('io.kubernetes.cri.sandbox-namespace', 'io.kubernetes.pod.namespace')
  const sandbox = first('io.kubernetes.cri.sandbox-id', 'io.kubernetes.cri-o.SandboxID')
  const inPod = namespace === undefined || pod === undefined ? undefined : `${namespace}/${pod}`
  const names = [
    ...own,
    string(annotations['nerdctl/name']),
    name,
    inPod,
    inPod === undefined || name === undefined ? undefined : `${inPod}/${name}`,
  ].filter((each) => each !== undefined)
  return { names, ...(sandbox === undefined ? {} : { sandbox }) }
}

/** runc keeps annotations as `key=value`. */
function annotationsOfList(list: unknown): Fields {
  if (!Array.isArray(list)) return {}
  return Object.fromEntries(
    list
      .filter((each) => typeof each === 'string')
      .map((each) => [each.slice(0, each.indexOf('=')), each.slice(each.indexOf('=') + 1)]),
  )
}

/** runc names directories below its mount of cgroup v2, which is at one of two places. */
function withoutMount(path: string): string {
  return path.replace(/^\/sys\/fs\/cgroup(\/unified(?=\/))?/, '')
}

function placed(path: string | undefined, pid: unknown): { cgroup?: string; pid?: number } {
  if (path === undefined || typeof pid !== 'number') return {}
  return { cgroup: path.replace(/^\/+|\/+$/g, ''), pid }
}

function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Fields)
    : {}
}

function string(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
