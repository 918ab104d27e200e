// What the mesh consists of after the resources were understood: the value between what users
// wrote (`World`) and what workers look up (`Tables`). Frozen; made only by `compile`.
import type { AuthorizationPolicy, PeerMode } from './authorization.ts'
import type { MeshSettings } from './mesh-settings.ts'
import type { Service } from './service.ts'
import type { Workload } from './workload.ts'

/** Workloads and services: what WDS carries. */
export interface Registry {
  /** By uid. */
  readonly workloads: ReadonlyMap<string, Workload>
  /** By `namespace/hostname`. */
  readonly services: ReadonlyMap<string, Service>
}

/** One PeerAuthentication as written; `compile` resolves them per workload into a `PeerMode`. */
export interface PeerAuthentication {
  readonly key: string
  readonly namespace: string
  readonly selector?: Readonly<Record<string, string>>
  readonly mode: 'unset' | 'strict' | 'permissive' | 'disable'
  readonly ports: Readonly<Record<string, 'unset' | 'strict' | 'permissive' | 'disable'>>
  /** Milliseconds since the epoch; the oldest wins among equals, then the name. */
  readonly createdMs: number
}

export interface Rules {
  readonly mesh: MeshSettings
  /** By `namespace/name`. */
  readonly authorization: ReadonlyMap<string, AuthorizationPolicy>
  readonly peerAuthentication: ReadonlyMap<string, PeerAuthentication>
}

/** What holds for connections to one workload. */
export interface WorkloadSecurity {
  /** Keys of the policies that select it, sorted. */
  readonly policies: readonly string[]
  readonly peer: PeerMode
}
