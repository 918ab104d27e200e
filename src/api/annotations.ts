// The annotations and labels by which users talk to Weft, and which of them each kind may carry.
import type { WorkloadMatch } from '../model/workload.ts'
import { CGROUP_PATH_WORDS, isCgroupPath } from './checks.ts'
import { didYouMean } from './closest.ts'
import type { Report } from './issue.ts'

export const ANNOTATION = {
  /** `none`: not in the mesh. */
  mesh: 'weft.dev/mesh',
  /** `direct`: undeclared ports may take the direct path too. */
  path: 'weft.dev/path',
  /** `cgroup=<glob>` or `container=<name>`: which local processes this workload is. */
  match: 'weft.dev/match',
  /** Path of the cgroup, below the root, of a workload that shares its node's network. */
  cgroup: 'weft.dev/cgroup',
  /** The node a WorkloadEntry lives on; implies that it is reached through a tunnel. */
  node: 'weft.dev/node',
  /** The WorkloadGroup, of the same namespace, whose template fills what is not set. */
  workloadGroup: 'weft.dev/workload-group',
  /** Istio's name for the same, written by istiod when a VM registers itself. */
  istioWorkloadGroup: 'istio.io/autoRegistrationGroup',
  /** `enabled`: reached through a tunnel. */
  redirection: 'ambient.istio.io/redirection',
  dryRun: 'istio.io/dry-run',
} as const

/** `none` takes a pod or a namespace out of the mesh, `ambient` keeps a pod in. */
export const DATAPLANE_MODE_LABEL = 'istio.io/dataplane-mode'
export const NETWORK_LABEL = 'topology.istio.io/network'
/** On an EndpointSlice: the service it belongs to. */
export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name'

interface Rule {
  readonly kinds: readonly string[]
  /** Completes "expected ...". */
  readonly values: string
  readonly ok: { test(value: string): boolean }
}

/** Kinds that may carry each annotation, and the values it takes. */
const ALLOWED: Readonly<Record<string, Rule>> = {
  [ANNOTATION.mesh]: {
    kinds: ['Pod', 'WorkloadEntry', 'Namespace'],
    values: '"none", "disabled" or "enabled"',
    ok: /^(none|disabled|enabled)$/,
  },
  [ANNOTATION.path]: {
    kinds: ['Service', 'ServiceEntry', 'Pod', 'WorkloadEntry', 'WorkloadGroup'],
    values: '"direct"',
    ok: /^direct$/,
  },
  [ANNOTATION.match]: {
    kinds: ['Pod', 'WorkloadEntry'],
    values: '"cgroup=<glob>" or "container=<name>"',
    ok: /^(cgroup|container)=\S+$/,
  },
  [ANNOTATION.cgroup]: {
    kinds: ['WorkloadEntry'],
    values: CGROUP_PATH_WORDS,
    ok: { test: isCgroupPath },
  },
  [ANNOTATION.node]: { kinds: ['WorkloadEntry'], values: 'a node name', ok: /^[A-Za-z0-9._-]+$/ },
  [ANNOTATION.workloadGroup]: {
    kinds: ['WorkloadEntry', 'WorkloadGroup'],
    values: 'the name of a WorkloadGroup in the same namespace',
    ok: /^[a-z0-9.-]+$/,
  },
}

/** Checks annotations of the group `weft.dev`; those of others are not ours to judge. */
export function checkAnnotations(
  kind: string,
  annotations: Readonly<Record<string, string>>,
  report: Report,
): void {
  for (const [name, value] of Object.entries(annotations)) {
    if (!name.startsWith('weft.dev/')) continue
    const path = ['metadata', 'annotations', name]
    const rule = ALLOWED[name]
    if (rule === undefined) {
      report(
        'warning',
        path,
        `unknown annotation, ignored${didYouMean(name, Object.keys(ALLOWED))}`,
      )
    } else if (!rule.kinds.includes(kind)) {
      const where = rule.kinds.join(', ')
      report('warning', path, `ignored on a ${kind}; this annotation belongs on: ${where}`)
    } else if (!rule.ok.test(value)) {
      report('error', path, `expected ${rule.values}, found ${JSON.stringify(value)}`)
    }
  }
}

/** The match of a value that `checkAnnotations` accepted; undefined when there is none. */
export function parseMatch(value: string | undefined): WorkloadMatch | undefined {
  if (value === undefined) return undefined
  const at = value.indexOf('=')
  const kind = value.slice(0, at)
  if (kind !== 'cgroup' && kind !== 'container') return undefined
  return { kind, pattern: value.slice(at + 1) }
}

/** The WorkloadGroup a WorkloadEntry or a WorkloadGroup takes its template from. */
export function workloadGroupOf(annotations: Readonly<Record<string, string>>): string | undefined {
  return annotations[ANNOTATION.workloadGroup] ?? annotations[ANNOTATION.istioWorkloadGroup]
}
