// Pods and WorkloadEntries as workloads that do not know their services yet.
import {
  ANNOTATION,
  DATAPLANE_MODE_LABEL,
  NETWORK_LABEL,
  parseMatch,
  workloadGroupOf,
} from '../api/annotations.ts'
import type { WorkloadTemplate } from '../api/istio/workload-entry.ts'
import { type Resource, resourceKey } from '../api/resource.ts'
import type { World } from '../api/world.ts'
import type { MeshSettings } from '../model/mesh-settings.ts'
import type { Locality, PortPair, Workload } from '../model/workload.ts'

/** A workload while its services are being found. */
export interface WorkloadDraft {
  readonly base: Omit<Workload, 'services' | 'directPorts'>
  /** Where it comes from, for messages. */
  readonly source: Resource
  /** Its own, and those of its group. */
  readonly annotations: Readonly<Record<string, string>>
  /** The ports it names itself. */
  readonly ports: readonly NamedPort[]
  /** Annotated `weft.dev/path: direct`. */
  readonly annotatedDirect: boolean
  /** By service key; filled by `bindEndpoints`. */
  readonly services: Map<string, PortPair[]>
}

export interface NamedPort {
  readonly name: string
  readonly port: number
  readonly transport: 'TCP' | 'UDP'
  /** Pods name container ports; WorkloadEntries name ports of the service. */
  readonly of: 'container' | 'service'
}

export interface Surroundings {
  readonly mesh: MeshSettings
  /** By name. */
  readonly namespaces: ReadonlyMap<string, Resource<'Namespace'>>
  /** By `namespace/name`. */
  readonly groups: ReadonlyMap<string, Resource<'WorkloadGroup'>>
}

export function surroundingsOf(world: World, mesh: MeshSettings): Surroundings {
  return {
    mesh,
    namespaces: new Map(world.Namespace.map((namespace) => [namespace.name, namespace])),
    groups: new Map(world.WorkloadGroup.map((group) => [resourceKey(group), group])),
  }
}

export function draftOfPod(pod: Resource<'Pod'>, around: Surroundings): WorkloadDraft {
  const { spec, labels, annotations } = pod
  const owner = ownerOf(pod)
  const meshed = inMesh(pod.namespace, labels, annotations, around) && !spec.hostNetwork
  const locality = {
    region: labels['topology.kubernetes.io/region'] ?? '',
    zone: labels['topology.kubernetes.io/zone'] ?? '',
    subzone: labels['topology.istio.io/subzone'] ?? '',
  }
  return {
    base: {
      ...common(pod, labels, around),
      ...matchOf(annotations),
      uid: `${around.mesh.clusterId}//Pod/${pod.namespace}/${pod.name}`,
      addresses: onePerFamily(spec.addresses),
      serviceAccount: spec.serviceAccount,
      node: spec.node,
      tunnel: meshed ? 'hbone' : 'none',
      hostNetwork: spec.hostNetwork,
      status: spec.ready ? 'healthy' : 'unhealthy',
      capacity: 1,
      locality,
      workloadName: owner.name,
      workloadType: owner.type,
      ...canonicalOf(labels, owner.name),
    },
    source: pod,
    annotations,
    ports: spec.ports.flatMap(({ name, port, protocol }) =>
      protocol === 'SCTP' ? [] : { name, port, transport: protocol, of: 'container' as const },
    ),
    annotatedDirect: annotations[ANNOTATION.path] === 'direct',
    services: new Map(),
  }
}

export function draftOfWorkloadEntry(
  entry: Resource<'WorkloadEntry'>,
  around: Surroundings,
): WorkloadDraft {
  const { template, labels, annotations } = inherited(entry, around)
  const cgroup = annotations[ANNOTATION.cgroup]
  const tunnelled =
    annotations[ANNOTATION.node] !== undefined || annotations[ANNOTATION.redirection] === 'enabled'
  const uid = `${around.mesh.clusterId}/networking.istio.io/WorkloadEntry`
  return {
    base: {
      ...common(entry, labels, around),
      ...(cgroup === undefined
        ? matchOf(annotations)
        : { match: { kind: 'host', pattern: cgroup } }),
      ...ofTemplate(template, entry.name, labels),
      ...(template.network === undefined ? {} : { network: template.network }),
      uid: `${uid}/${entry.namespace}/${entry.name}`,
      addresses: [entry.spec.address],
      node: annotations[ANNOTATION.node] ?? '',
      tunnel: tunnelled && inMesh(entry.namespace, labels, annotations, around) ? 'hbone' : 'none',
      hostNetwork: cgroup !== undefined,
      status: 'healthy',
    },
    source: entry,
    annotations,
    ports: templatePorts(template),
    annotatedDirect: annotations[ANNOTATION.path] === 'direct',
    services: new Map(),
  }
}

/** An address that only a service knows: an endpoint in a ServiceEntry or an EndpointSlice. */
export function draftOfAddress(
  source: Resource<'ServiceEntry'> | Resource<'EndpointSlice'>,
  endpoint: WorkloadTemplate & { readonly address: string; readonly ready: boolean },
  around: Surroundings,
): WorkloadDraft {
  const kind = source.kind === 'ServiceEntry' ? 'networking.istio.io' : 'discovery.k8s.io'
  const { name, namespace } = source
  const uid = `${around.mesh.clusterId}/${kind}/${source.kind}/${namespace}/${name}`
  const tunnelled = source.annotations[ANNOTATION.redirection] === 'enabled'
  return {
    base: {
      ...common(source, endpoint.labels, around),
      ...ofTemplate(endpoint, name, endpoint.labels),
      ...(endpoint.network === undefined ? {} : { network: endpoint.network }),
      uid: `${uid}/${endpoint.address}`,
      addresses: [endpoint.address],
      node: '',
      tunnel: tunnelled ? 'hbone' : 'none',
      hostNetwork: false,
      status: endpoint.ready ? 'healthy' : 'unhealthy',
    },
    source,
    annotations: {},
    ports: templatePorts(endpoint),
    annotatedDirect: false,
    services: new Map(),
  }
}

function common(
  resource: Resource,
  labels: Readonly<Record<string, string>>,
  { mesh, namespaces }: Surroundings,
) {
  const ofNamespace = namespaces.get(resource.namespace)?.labels[NETWORK_LABEL]
  return {
    name: resource.name,
    namespace: resource.namespace,
    trustDomain: mesh.trustDomain,
    network: labels[NETWORK_LABEL] ?? ofNamespace ?? mesh.network,
    clusterId: mesh.clusterId,
    labels,
  }
}

function ofTemplate(
  template: WorkloadTemplate,
  name: string,
  labels: Readonly<Record<string, string>>,
) {
  return {
    serviceAccount: template.serviceAccount ?? 'default',
    capacity: template.weight ?? 1,
    locality: parseLocality(template.locality ?? ''),
    workloadName: name,
    workloadType: 'pod' as const,
    ...canonicalOf(labels, name),
  }
}

function matchOf(annotations: Readonly<Record<string, string>>): Pick<Workload, 'match'> {
  const match = parseMatch(annotations[ANNOTATION.match])
  return match === undefined ? {} : { match }
}

/** Pod over namespace; the default is to be in the mesh. */
function inMesh(
  namespace: string,
  labels: Readonly<Record<string, string>>,
  annotations: Readonly<Record<string, string>>,
  { namespaces }: Surroundings,
): boolean {
  const own = annotations[ANNOTATION.mesh] ?? labels[ANNOTATION.mesh]
  if (own === 'none' || own === 'disabled') return false
  const mode = labels[DATAPLANE_MODE_LABEL]
  if (mode === 'none') return false
  if (own === 'enabled' || mode === 'ambient') return true
  const around = namespaces.get(namespace)
  if (around?.labels[DATAPLANE_MODE_LABEL] === 'none') return false
  const wide = around?.labels[ANNOTATION.mesh] ?? around?.annotations[ANNOTATION.mesh]
  return wide !== 'disabled' && wide !== 'none'
}

/** What an entry says, and what it leaves to its group, and that to its own group. */
function inherited(entry: Resource<'WorkloadEntry'>, { groups }: Surroundings) {
  let template: WorkloadTemplate = entry.spec
  let labels = { ...entry.spec.labels, ...entry.labels }
  let annotations = entry.annotations
  let name = workloadGroupOf(annotations)
  const visited = new Set<string>()
  while (name !== undefined && !visited.has(name)) {
    visited.add(name)
    const group = groups.get(`${entry.namespace}/${name}`)
    if (group === undefined) break
    const from = group.spec
    labels = { ...from.labels, ...from.template.labels, ...labels }
    annotations = { ...from.annotations, ...annotations }
    const ports = { ...from.template.ports, ...template.ports }
    template = { ...from.template, ...template, ports }
    name = workloadGroupOf(group.annotations)
  }
  return { template, labels, annotations }
}

function templatePorts(template: WorkloadTemplate): NamedPort[] {
  return Object.entries(template.ports).map(([name, port]) => ({
    name,
    port,
    transport: 'TCP',
    of: 'service',
  }))
}

function parseLocality(text: string): Locality {
  const [region = '', zone = '', subzone = ''] = text.split('/')
  return { region, zone, subzone }
}

/** Source: Istio "canonical service" labels. */
function canonicalOf(labels: Readonly<Record<string, string>>, name: string) {
  return {
    canonicalName:
      labels['service.istio.io/canonical-name'] ??
      labels['app.kubernetes.io/name'] ??
      labels.app ??
      name,
    canonicalRevision:
      labels['service.istio.io/canonical-revision'] ??
      labels['app.kubernetes.io/version'] ??
      labels.version ??
      'latest',
  }
}

/** The Deployment behind a ReplicaSet is found by the hash its name ends with. */
function ownerOf(pod: Resource<'Pod'>): { name: string; type: Workload['workloadType'] } {
  const { owner } = pod.spec
  const hash = pod.labels['pod-template-hash']
  if (owner?.kind === 'ReplicaSet' && hash !== undefined && owner.name.endsWith(`-${hash}`)) {
    return { name: owner.name.slice(0, -hash.length - 1), type: 'deployment' }
  }
  if (owner?.kind === 'Job') {
    const scheduled = /^(.+)-[0-9]{8,10}$/.exec(owner.name)?.[1]
    return scheduled === undefined
      ? { name: owner.name, type: 'job' }
      : { name: scheduled, type: 'cronjob' }
  }
  return { name: owner?.name ?? pod.name, type: 'pod' }
}

function onePerFamily(addresses: readonly string[]): string[] {
  const v4 = addresses.find((address) => !address.includes(':'))
  const v6 = addresses.find((address) => address.includes(':'))
  return addresses.filter((address) => address === v4 || address === v6)
}
