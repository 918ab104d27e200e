// Kubernetes Service: virtual addresses, ports, and which workloads stand behind them.
import { canonicalIp } from '../../base/ip.ts'
import type { PortProtocol } from '../../model/service.ts'
import { declaredProtocol } from '../port-protocol.ts'
import {
  BOOLEAN,
  irrelevant,
  type KindDefinition,
  listOf,
  must,
  notHonoured,
  object,
  oneOf,
  TEXT,
  TEXT_MAP,
} from '../schema.ts'

export interface ServicePortSpec {
  readonly name: string
  readonly port: number
  /** A number, or the name of a container port. */
  readonly targetPort: number | string
  readonly protocol: PortProtocol
}

export interface ServiceSpec {
  /** Canonical; none for a headless service, or where the mesh is to assign one. */
  readonly clusterIps: readonly string[]
  /** `clusterIP: None`: its name stands for its endpoints. */
  readonly headless: boolean
  readonly ports: readonly ServicePortSpec[]
  /** Undefined: EndpointSlices name the endpoints. */
  readonly selector?: Readonly<Record<string, string>>
  readonly publishNotReadyAddresses: boolean
  /** An alias in DNS; no endpoints. */
  readonly externalName: boolean
}

interface RawService {
  readonly spec: {
    readonly type?: string
    readonly clusterIP?: string
    readonly clusterIPs?: readonly string[]
    readonly selector?: Readonly<Record<string, string>>
    readonly publishNotReadyAddresses?: boolean
    readonly ports?: readonly {
      readonly name?: string
      readonly port: number
      readonly targetPort?: number | string
      readonly protocol?: 'TCP' | 'UDP' | 'SCTP'
      readonly appProtocol?: string
    }[]
  }
}

const PORT = object(
  {
    name: TEXT,
    port: must('port'),
    targetPort: must('portOrName'),
    protocol: oneOf('TCP', 'UDP', 'SCTP'),
    appProtocol: TEXT,
    nodePort: true,
  },
  ['port'],
)

export const SERVICE: KindDefinition<'Service', ServiceSpec> = {
  kind: 'Service',
  group: '',
  versions: ['v1'],
  scope: 'namespace',
  fields: {
    spec: object({
      type: oneOf('ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'),
      clusterIP: must('clusterIp'),
      clusterIPs: listOf(must('clusterIp')),
      selector: TEXT_MAP,
      ports: listOf(PORT),
      publishNotReadyAddresses: BOOLEAN,
      sessionAffinity: { type: 'string' },
      trafficDistribution: notHonoured('endpoints of every zone are used alike'),
      ...irrelevant(`externalIPs externalName externalTrafficPolicy internalTrafficPolicy ipFamilies
        ipFamilyPolicy loadBalancerIP loadBalancerClass loadBalancerSourceRanges healthCheckNodePort
        allocateLoadBalancerNodePorts sessionAffinityConfig`),
    }),
    status: true,
  },
  required: ['spec'],
  unknownFields: 'warning',
  nullMeansAbsent: true,
  parse(object, _metadata, report) {
    const { spec } = object as unknown as RawService
    if (spec.type === 'ExternalName') {
      report(
        'warning',
        ['spec', 'type'],
        'ignored: aliases are left to the resolvers of the workloads',
      )
    }
    const written = spec.clusterIPs ?? (spec.clusterIP === undefined ? [] : [spec.clusterIP])
    const ports: ServicePortSpec[] = []
    const numbers = new Set<string>()
    for (const [at, port] of (spec.ports ?? []).entries()) {
      const path = ['spec', 'ports', at]
      const transport = port.protocol ?? 'TCP'
      if (transport === 'SCTP') {
        report('warning', [...path, 'protocol'], 'SCTP is not carried by the mesh; port ignored')
        continue
      }
      if (numbers.has(`${port.port}/${transport}`)) {
        report('error', [...path, 'port'], `port ${port.port} is listed twice; remove one`)
      }
      numbers.add(`${port.port}/${transport}`)
      ports.push({
        name: port.name ?? '',
        port: port.port,
        targetPort: port.targetPort ?? port.port,
        protocol: declaredProtocol(transport, port.appProtocol, port.name ?? ''),
      })
    }
    const selector = spec.selector ?? {}
    return {
      clusterIps: written.flatMap((ip) => canonicalIp(ip) ?? []),
      headless: written.includes('None'),
      ports,
      ...(Object.keys(selector).length > 0 ? { selector } : {}),
      publishNotReadyAddresses: spec.publishNotReadyAddresses ?? false,
      externalName: spec.type === 'ExternalName',
    }
  },
}
