// Settings of the whole mesh: the spec of a `MeshConfig` (weft.dev/v1) with its defaults.

export interface MeshSettings {
  readonly trustDomain: string
  /** Policies in this namespace hold for every namespace. */
  readonly rootNamespace: string
  /** What becomes of connections to addresses the mesh does not know. */
  readonly outboundTrafficPolicy: 'allow-any' | 'registry-only'
  /** Whether connections between workloads of one node may skip the agent. */
  readonly directPath: 'node' | 'off'
  /** What becomes of processes below a watched cgroup that are no known workload. */
  readonly unknown: 'refuse' | 'pass'
  /** How long connections older than a workload's enrolment may live, unless STRICT ends them. */
  readonly enrolGraceMs: number
  readonly clusterDomain: string
  readonly clusterId: string
  readonly network: string
  /** A connection on which no byte moved for this long ends. */
  readonly idleTimeoutMs: number
  readonly connectTimeoutMs: number
  /** How long open connections may live on after the agent was told to stop. */
  readonly drainTimeoutMs: number
  /** Lifetime of workload certificates. */
  readonly certificateTtlMs: number
  /** Whether the agent answers what workloads ask at port 53. */
  readonly dns: 'capture' | 'off'
  /** Paths, below the root of cgroup v2, of host cgroups whose connections pass as health probes
   * (`system.slice/kubelet.service`). */
  readonly probeCgroups: readonly string[]
}

export const DEFAULT_MESH_SETTINGS: MeshSettings = Object.freeze({
  trustDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  outboundTrafficPolicy: 'allow-any',
  directPath: 'node',
  unknown: 'refuse',
  enrolGraceMs: 30_000,
  clusterDomain: 'cluster.local',
  clusterId: 'Kubernetes',
  network: '',
  idleTimeoutMs: 3_600_000,
  connectTimeoutMs: 10_000,
  drainTimeoutMs: 5_000,
  certificateTtlMs: 86_400_000,
  dns: 'capture',
  probeCgroups: [],
})
