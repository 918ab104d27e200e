// Tables: what a data-plane worker looks things up in, and the patches that change them.
// A table is never changed in place: a connection keeps the version it began with.
import type { PersistentMap } from '../base/persistent-map.ts'
import type { AuthorizationPolicy } from './authorization.ts'
import type { MeshSettings } from './mesh-settings.ts'
import type { WorkloadSecurity } from './registry.ts'
import type { Service } from './service.ts'
import type { Workload } from './workload.ts'

export interface TableWorkload extends Workload, WorkloadSecurity {}

export interface TableService extends Service {
  /** uids of its endpoints, sorted. */
  readonly endpoints: readonly string[]
}

export interface Tables {
  /** Increases with every change; the same number in the BPF generation. */
  readonly version: number
  readonly mesh: MeshSettings
  /** By uid. */
  readonly workloads: PersistentMap<TableWorkload>
  /** By `namespace/hostname`. */
  readonly services: PersistentMap<TableService>
  /** By `namespace/name`. */
  readonly policies: PersistentMap<AuthorizationPolicy>
  /** uid by canonical IP; workloads on the host network are not in it. */
  readonly workloadByIp: PersistentMap<string>
  /** Service key by canonical virtual IP. */
  readonly serviceByVip: PersistentMap<string>
  /** Keys of the services with this host name, sorted. A wildcard (`*.example.com`) is a name too. */
  readonly serviceByHost: PersistentMap<readonly string[]>
  /** Service key by range (`10.0.0.0/24`), longest prefix first wins; few. */
  readonly serviceByRange: PersistentMap<string>
}

/** One change of one entry: `value` undefined removes it. */
export type TableChange =
  | { readonly table: 'workloads'; readonly key: string; readonly value?: TableWorkload }
  | { readonly table: 'services'; readonly key: string; readonly value?: TableService }
  | { readonly table: 'policies'; readonly key: string; readonly value?: AuthorizationPolicy }
  | { readonly table: 'workloadByIp'; readonly key: string; readonly value?: string }
  | { readonly table: 'serviceByVip'; readonly key: string; readonly value?: string }
  | { readonly table: 'serviceByHost'; readonly key: string; readonly value?: readonly string[] }
  | { readonly table: 'serviceByRange'; readonly key: string; readonly value?: string }

/** A slice of the way from one version to the next; only `commit` makes it visible. */
export type TablesPatch =
  | { readonly kind: 'slice'; readonly version: number; readonly changes: readonly TableChange[] }
  | { readonly kind: 'commit'; readonly version: number; readonly mesh: MeshSettings }
