// A resource as its author meant it: typed, with defaults filled in, and knowing where it was
// written.
import type { MeshSettings } from '../model/mesh-settings.ts'
import type { Issue, Origin } from './issue.ts'
import type { AuthorizationPolicySpec } from './istio/authorization-policy.ts'
import type { PeerAuthenticationSpec } from './istio/peer-authentication.ts'
import type { ServiceEntrySpec } from './istio/service-entry.ts'
import type { WorkloadEntrySpec } from './istio/workload-entry.ts'
import type { WorkloadGroupSpec } from './istio/workload-group.ts'
import type { EndpointSliceSpec } from './kubernetes/endpoint-slice.ts'
import type { NamespaceSpec } from './kubernetes/namespace.ts'
import type { PodSpec } from './kubernetes/pod.ts'
import type { ServiceSpec } from './kubernetes/service.ts'
import type { ServiceAccountSpec } from './kubernetes/service-account.ts'

export interface SpecByKind {
  readonly Namespace: NamespaceSpec
  readonly ServiceAccount: ServiceAccountSpec
  readonly Service: ServiceSpec
  readonly EndpointSlice: EndpointSliceSpec
  readonly Pod: PodSpec
  readonly ServiceEntry: ServiceEntrySpec
  readonly WorkloadEntry: WorkloadEntrySpec
  readonly WorkloadGroup: WorkloadGroupSpec
  readonly PeerAuthentication: PeerAuthenticationSpec
  readonly AuthorizationPolicy: AuthorizationPolicySpec
  readonly MeshConfig: MeshSettings
}

export type Kind = keyof SpecByKind

export interface Resource<K extends Kind = Kind> {
  readonly apiVersion: string
  readonly kind: K
  readonly name: string
  /** '' for kinds that live outside namespaces; `default` where none is written. */
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  /** Milliseconds since the epoch; 0 when not written. */
  readonly createdMs: number
  readonly origin: Origin
  readonly spec: SpecByKind[K]
}

export type AnyResource = { [K in Kind]: Resource<K> }[Kind]

export const KINDS: readonly Kind[] = [
  'Namespace',
  'ServiceAccount',
  'Service',
  'EndpointSlice',
  'Pod',
  'ServiceEntry',
  'WorkloadEntry',
  'WorkloadGroup',
  'PeerAuthentication',
  'AuthorizationPolicy',
  'MeshConfig',
]

/** `namespace/name`, or the bare name of a kind outside namespaces. */
export function resourceKey(resource: {
  readonly namespace: string
  readonly name: string
}): string {
  return resource.namespace === '' ? resource.name : `${resource.namespace}/${resource.name}`
}

/** An issue about a resource as a whole, or about a field whose line is not kept. */
export function issueAt(
  resource: Resource,
  severity: Issue['severity'],
  path: string,
  message: string,
): Issue {
  const { origin, kind } = resource
  return { severity, ...origin, kind, name: resourceKey(resource), path, message }
}

export function placeOf(origin: Origin): string {
  return `${origin.file}:${origin.line}`
}

/** Code-unit order: the same on every machine, whatever its locale. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
