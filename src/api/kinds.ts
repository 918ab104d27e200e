// The register of kinds Weft reads, each with its schema compiled.
import { AUTHORIZATION_POLICY } from './istio/authorization-policy.ts'
import { PEER_AUTHENTICATION } from './istio/peer-authentication.ts'
import { SERVICE_ENTRY } from './istio/service-entry.ts'
import { WORKLOAD_ENTRY } from './istio/workload-entry.ts'
import { WORKLOAD_GROUP } from './istio/workload-group.ts'
import { ENDPOINT_SLICE } from './kubernetes/endpoint-slice.ts'
import { NAMESPACE } from './kubernetes/namespace.ts'
import { POD } from './kubernetes/pod.ts'
import { SERVICE } from './kubernetes/service.ts'
import { SERVICE_ACCOUNT } from './kubernetes/service-account.ts'
import type { Kind, SpecByKind } from './resource.ts'
import {
  irrelevant,
  type KindDefinition,
  must,
  object,
  type Schema,
  TEXT,
  TEXT_MAP,
} from './schema.ts'
import { compileSchema, type Validator } from './validate.ts'
import { MESH_CONFIG } from './weft/mesh-config.ts'

const DEFINITIONS: { readonly [K in Kind]: KindDefinition<K, SpecByKind[K]> } = {
  Namespace: NAMESPACE,
  ServiceAccount: SERVICE_ACCOUNT,
  Service: SERVICE,
  EndpointSlice: ENDPOINT_SLICE,
  Pod: POD,
  ServiceEntry: SERVICE_ENTRY,
  WorkloadEntry: WORKLOAD_ENTRY,
  WorkloadGroup: WORKLOAD_GROUP,
  PeerAuthentication: PEER_AUTHENTICATION,
  AuthorizationPolicy: AUTHORIZATION_POLICY,
  MeshConfig: MESH_CONFIG,
}

/** Real kinds that Weft does not honour yet, and what that means for who writes them. */
export const KINDS_NOT_HONOURED: Readonly<Record<string, string>> = {
  'networking.istio.io/VirtualService': 'routes are not applied',
  'networking.istio.io/DestinationRule': 'traffic policy is not applied',
  'networking.istio.io/Gateway': 'gateways are not served',
  'networking.istio.io/Sidecar': 'every service stays visible',
  'networking.istio.io/EnvoyFilter': 'there is no Envoy',
  'networking.istio.io/ProxyConfig': 'there is no Envoy',
  'security.istio.io/RequestAuthentication': 'tokens are not checked',
  'telemetry.istio.io/Telemetry': 'telemetry is not configurable',
  'extensions.istio.io/WasmPlugin': 'there is no Envoy',
}

export interface CheckedKind {
  readonly definition: KindDefinition<Kind, SpecByKind[Kind]>
  readonly validate: Validator
}

const METADATA: Schema = object(
  {
    name: must('dnsName'),
    namespace: must('dnsName'),
    labels: TEXT_MAP,
    annotations: TEXT_MAP,
    creationTimestamp: TEXT,
    deletionTimestamp: TEXT,
    ownerReferences: {
      type: 'array',
      items: { type: 'object', properties: { kind: TEXT, name: TEXT }, required: ['kind', 'name'] },
    },
    ...irrelevant(`uid resourceVersion generation generateName selfLink managedFields finalizers
      deletionGracePeriodSeconds clusterName`),
  },
  ['name'],
)

const CHECKED: ReadonlyMap<string, CheckedKind> = new Map(
  Object.values(DEFINITIONS).map((definition) => {
    const { fields, required = [], unknownFields } = definition
    const schema = object({ apiVersion: true, kind: true, metadata: METADATA, ...fields }, [
      'metadata',
      ...required,
    ])
    return [definition.kind, { definition, validate: compileSchema(schema, unknownFields) }]
  }),
)

export function checkedKind(kind: string): CheckedKind | undefined {
  return CHECKED.get(kind)
}

export function groupOf(apiVersion: string): { group: string; version: string } {
  const slash = apiVersion.indexOf('/')
  return slash < 0
    ? { group: '', version: apiVersion }
    : { group: apiVersion.slice(0, slash), version: apiVersion.slice(slash + 1) }
}
