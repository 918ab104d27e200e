// Services and ServiceEntries as services of the registry, each with the way to its endpoints.
import { ANNOTATION } from '../api/annotations.ts'
import type { Resource } from '../api/resource.ts'
import type { World } from '../api/world.ts'
import { parseIp } from '../base/ip.ts'
import type { MeshSettings } from '../model/mesh-settings.ts'
import type { PortProtocol, Service } from '../model/service.ts'

export interface ServiceDraft {
  readonly service: Service
  readonly source: Resource<'Service'> | Resource<'ServiceEntry'>
  readonly ports: readonly PortDraft[]
  /** Labels of its endpoints; undefined when they are listed instead. */
  readonly selector?: Readonly<Record<string, string>>
}

export interface PortDraft {
  readonly name: string
  readonly port: number
  /** A number, or the name of a container port. */
  readonly target: number | string
  readonly protocol: PortProtocol
}

/** Every service, Services first, in the order of the world. */
export function serviceDrafts(world: World, mesh: MeshSettings): ServiceDraft[] {
  return [
    ...world.Service.filter(({ spec }) => !spec.externalName).map((service) =>
      draftOfService(service, mesh),
    ),
    ...world.ServiceEntry.flatMap((entry) => draftsOfServiceEntry(entry)),
  ]
}

function draftOfService(source: Resource<'Service'>, mesh: MeshSettings): ServiceDraft {
  const { name, namespace, spec } = source
  const hostname = `${name}.${namespace}.svc.${mesh.clusterDomain}`
  return {
    service: {
      key: `${namespace}/${hostname}`,
      name,
      namespace,
      hostname,
      vips: spec.clusterIps,
      assigned: !spec.headless && spec.clusterIps.length === 0,
      ports: spec.ports.map(({ port, targetPort, name, protocol }) => ({
        port,
        targetPort: typeof targetPort === 'number' ? targetPort : 0,
        name,
        protocol,
      })),
      subjectAltNames: [],
      resolution: 'static',
      external: false,
      annotatedDirect: source.annotations[ANNOTATION.path] === 'direct',
      allowUnhealthy: spec.publishNotReadyAddresses,
    },
    source,
    ports: spec.ports.map(({ name, port, targetPort, protocol }) => ({
      name,
      port,
      target: targetPort,
      protocol,
    })),
    ...(spec.selector === undefined ? {} : { selector: spec.selector }),
  }
}

/** Not where connections go on to the address they were made to, which would be one that leads
 * nowhere, nor where many names would share it. Source: Istio, automatic address allocation. */
function needsAddress(hostname: string, spec: Resource<'ServiceEntry'>['spec']): boolean {
  const isName = !hostname.startsWith('*.') && parseIp(hostname) === undefined
  return isName && spec.addresses.length === 0 && spec.resolution === 'static'
}

/** One service for each host; all of them have the same addresses and endpoints. */
function draftsOfServiceEntry(source: Resource<'ServiceEntry'>): ServiceDraft[] {
  const { namespace, spec } = source
  return spec.hosts.map((hostname) => ({
    service: {
      key: `${namespace}/${hostname}`,
      name: source.name,
      namespace,
      hostname,
      vips: spec.addresses,
      assigned: needsAddress(hostname, spec),
      ports: spec.ports,
      subjectAltNames: spec.subjectAltNames,
      resolution: spec.resolution,
      external: spec.external,
      annotatedDirect: source.annotations[ANNOTATION.path] === 'direct',
      allowUnhealthy: false,
    },
    source,
    ports: spec.ports.map(({ name, port, targetPort, protocol }) => ({
      name,
      port,
      target: targetPort,
      protocol,
    })),
    ...(spec.workloadSelector === undefined ? {} : { selector: spec.workloadSelector }),
  }))
}
