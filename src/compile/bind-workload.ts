// Which workload a local cgroup belongs to: exactly one must match, or the processes are refused.
import type { Workload } from '../model/workload.ts'

export type Binding =
  | { readonly kind: 'bound'; readonly workload: Workload }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'ambiguous'; readonly uids: readonly string[] }

/** `*` matches within one path segment, `**` across segments, `?` one character. */
export function globMatches(pattern: string, path: string): boolean {
  return segmentsMatch(pattern.split('/'), path.split('/'))
}

/**
 * `path` is relative to the watched cgroup; a pattern may name the cgroup itself or any cgroup
 * above it, so that a pod's pattern covers the containers inside. Host-network workloads and those
 * of other nodes are never candidates.
 */
export function bindCgroup(path: string, workloads: Iterable<Workload>, nodeName: string): Binding {
  const paths = withAncestors(path)
  const found: Workload[] = []
  for (const workload of workloads) {
    if (workload.node !== nodeName || workload.hostNetwork) continue
    const match = workload.match
    if (match === undefined || match.kind !== 'cgroup') continue
    if (paths.some((candidate) => globMatches(match.pattern, candidate))) found.push(workload)
  }
  const [only, ...others] = found
  if (only === undefined) return { kind: 'unknown' }
  if (others.length === 0) return { kind: 'bound', workload: only }
  return { kind: 'ambiguous', uids: found.map((workload) => workload.uid).sort() }
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
