// A workload: a pod, container, service or cgroup with an identity, as the registry knows it.
// The fields are those WDS carries (istio.workload.Workload), so that every source can fill them.
import { formatSpiffeId, type SpiffeId } from './spiffe-id.ts'

export interface Locality {
  readonly region: string
  readonly zone: string
  readonly subzone: string
}

/** One service port of an endpoint: the service's port and where the workload serves it. */
export interface PortPair {
  readonly servicePort: number
  readonly targetPort: number
}

export interface Workload {
  /** `cluster/group/kind/namespace/name[/section]`. */
  readonly uid: string
  readonly name: string
  readonly namespace: string
  /** Canonical IP texts, at most one per family is used; empty while unknown. */
  readonly addresses: readonly string[]
  readonly trustDomain: string
  readonly serviceAccount: string
  /** Name of the node it runs on; '' when unknown. */
  readonly node: string
  readonly network: string
  readonly clusterId: string
  readonly labels: Readonly<Record<string, string>>
  /** How its node is reached: through an HBONE tunnel, or in plain TCP (not in the mesh). */
  readonly tunnel: 'hbone' | 'none'
  /** Shares its node's IP, and is then not found by IP. */
  readonly hostNetwork: boolean
  readonly status: 'healthy' | 'unhealthy'
  /** Weight in balancing; 0 is never chosen, unset is 1. */
  readonly capacity: number
  readonly locality: Locality
  /** Key `namespace/hostname` of each service it is an endpoint of. */
  readonly services: Readonly<Record<string, readonly PortPair[]>>
  /** For telemetry and the `baggage` header. */
  readonly workloadName: string
  readonly workloadType: 'deployment' | 'cronjob' | 'pod' | 'job'
  readonly canonicalName: string
  readonly canonicalRevision: string
  /** Ports declared TCP, or annotated `weft.dev/path: direct`: candidates of the direct path. */
  readonly directPorts: readonly number[]
  /** How a local cgroup is bound to it; absent for workloads that are not enrolled by match. */
  readonly match?: WorkloadMatch
}

/**
 * How a local cgroup is found. `cgroup`: from the annotation `weft.dev/match`, a glob over the path
 * below a watched cgroup; `container`: the name or id of a container there; `host`: from
 * `weft.dev/cgroup`, the path of one cgroup below the root, whose processes share the node's
 * network (`system.slice/nginx.service`).
 */
export interface WorkloadMatch {
  readonly kind: 'cgroup' | 'container' | 'host'
  readonly pattern: string
  /** `host` only: TCP ports the configuration says it serves, sorted. They are its own whether or
   * not anybody listens. */
  readonly ports?: readonly number[]
  /** Those of `ports` that it names itself: somebody else may hold the socket for it, as systemd
   * does for a service that it activates. */
  readonly ownPorts?: readonly number[]
}

export function identityOf(workload: {
  readonly trustDomain: string
  readonly namespace: string
  readonly serviceAccount: string
}): SpiffeId {
  return formatSpiffeId(workload)
}
