// Which workload a local cgroup belongs to: exactly one must match, or the processes are refused.
import type { ContainerFacts } from '../model/container.ts'
import type { Workload, WorkloadMatch } from '../model/workload.ts'

/** A cgroup with processes, by its path below the watched one. */
export interface Candidate {
  readonly path: string
  readonly container?: ContainerFacts | undefined
}

export type Binding =
  | { readonly kind: 'bound'; readonly workload: Workload }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'ambiguous'; readonly uids: readonly string[] }
  /** The one workload that matches, matches containers of several networks. */
  | { readonly kind: 'crowded'; readonly uid: string; readonly containers: readonly string[] }

/** A prefix of a container's id stands for it from this length; shorter ones collide. */
const ID_PREFIX = /^[0-9a-f]{12,}$/

/** `*` matches within one path segment, `**` across segments, `?` one character. */
export function globMatches(pattern: string, path: string): boolean {
  return segmentsMatch(pattern.split('/'), path.split('/'))
}

/**
 * Binds all cgroups of a node at once, because a container's name is good only while one container,
 * or the containers of one pod, have it. Host-network workloads and those of other nodes are never
 * candidates.
 */
export function bindCgroups(
  candidates: Iterable<Candidate>,
  workloads: Iterable<Workload>,
  nodeName: string,
): ReadonlyMap<string, Binding> {
  const local = [...workloads].filter((each) => each.node === nodeName && !each.hostNetwork)
  const bindings = new Map<string, Binding>()
  const containersOf = new Map<string, ContainerFacts[]>()
  for (const candidate of candidates) {
    const binding = bindOne(candidate, local)
    bindings.set(candidate.path, binding)
    if (binding.kind !== 'bound' || binding.workload.match?.kind !== 'container') continue
    const { uid } = binding.workload
    if (candidate.container !== undefined) {
      containersOf.set(uid, [...(containersOf.get(uid) ?? []), candidate.container])
    }
  }
  for (const [path, binding] of bindings) {
    if (binding.kind !== 'bound') continue
    const { uid } = binding.workload
    const containers = containersOf.get(uid) ?? []
    if (new Set(containers.map(({ sandbox }) => sandbox)).size < 2) continue
    const ids = [...new Set(containers.map(({ id }) => id))].sort()
    bindings.set(path, { kind: 'crowded', uid, containers: ids })
  }
  return bindings
}

function bindOne(candidate: Candidate, workloads: readonly Workload[]): Binding {
  const paths = withAncestors(candidate.path)
  const found = workloads.filter(({ match }) => {
    return match !== undefined && matches(match, paths, candidate.container)
  })
  const [only, ...others] = found
  if (only === undefined) return { kind: 'unknown' }
  if (others.length === 0) return { kind: 'bound', workload: only }
  return { kind: 'ambiguous', uids: found.map((workload) => workload.uid).sort() }
}

/** A glob may name the cgroup or one above it, so that a pod's covers the containers inside. */
function matches(
  { kind, pattern }: WorkloadMatch,
  paths: readonly string[],
  container: ContainerFacts | undefined,
): boolean {
  if (kind === 'cgroup') return paths.some((path) => globMatches(pattern, path))
  if (kind !== 'container' || container === undefined) return false
  const { id, names } = container
  return (
    id === pattern || names.includes(pattern) || (ID_PREFIX.test(pattern) && id.startsWith(pattern))
  )
}

function withAncestors(path: string): readonly string[] {
  const segments = path.split('/')
  return segments.map((_, at) => segments.slice(0, at + 1).join('/'))
}

function segmentsMatch(pattern: readonly string[], path: readonly string[]): boolean {
  const [head, ...rest] = pattern
  if (head === undefined) return path.length === 0
  if (head === '**') {
    for (let skip = 0; skip <= path.length; skip++) {
      if (segmentsMatch(rest, path.slice(skip))) return true
    }
    return false
  }
  const [first, ...others] = path
  return first !== undefined && segmentMatches(head, first) && segmentsMatch(rest, others)
}

/** Linear in the product of the lengths; no backtracking over more than the last star. */
function segmentMatches(pattern: string, text: string): boolean {
  let at = 0
  let starAt = -1
  let resumeAt = 0
  let inPattern = 0
  while (at < text.length) {
    const wanted = pattern[inPattern]
    if (wanted === '*') {
      starAt = inPattern++
      resumeAt = at
    } else if (wanted !== undefined && (wanted === '?' || wanted === text[at])) {
      inPattern++
      at++
    } else if (starAt >= 0) {
      inPattern = starAt + 1
      at = ++resumeAt
    } else return false
  }
  while (pattern[inPattern] === '*') inPattern++
  return inPattern === pattern.length
}
