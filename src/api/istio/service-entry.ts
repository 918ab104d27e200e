// Istio ServiceEntry: services that Kubernetes does not know, inside the mesh or outside it.
import { formatCidr, parseCidr } from '../../base/cidr.ts'
import { canonicalIp } from '../../base/ip.ts'
import type { PortProtocol } from '../../model/service.ts'
import { isDnsName } from '../checks.ts'
import type { Report } from '../issue.ts'
import { serviceEntryProtocol } from '../port-protocol.ts'
import {
  type KindDefinition,
  listOf,
  must,
  notHonoured,
  object,
  oneOf,
  TEXT,
  TEXT_MAP,
} from '../schema.ts'
import {
  parseWorkloadEntry,
  WORKLOAD_ENTRY_FIELDS,
  type WorkloadEntrySpec,
} from './workload-entry.ts'

export interface ServiceEntryPort {
  readonly name: string
  readonly port: number
  readonly targetPort: number
  readonly protocol: PortProtocol
}

export interface ServiceEntrySpec {
  readonly hosts: readonly string[]
  /** Canonical addresses and ranges. */
  readonly addresses: readonly string[]
  readonly ports: readonly ServiceEntryPort[]
  readonly external: boolean
  readonly resolution: 'static' | 'none'
  readonly endpoints: readonly WorkloadEntrySpec[]
  readonly workloadSelector?: Readonly<Record<string, string>>
  readonly subjectAltNames: readonly string[]
}

interface RawServiceEntry {
  readonly spec: {
    readonly hosts: readonly string[]
    readonly addresses?: readonly string[]
    readonly ports?: readonly {
      readonly number: number
      readonly name?: string
      readonly protocol?: string
      readonly targetPort?: number
    }[]
    readonly location?: string
    readonly resolution?: string
    readonly endpoints?: readonly { readonly address?: string }[]
    readonly workloadSelector?: { readonly labels?: Readonly<Record<string, string>> }
    readonly subjectAltNames?: readonly string[]
  }
}

const PROTOCOLS = ['HTTP', 'HTTPS', 'GRPC', 'HTTP2', 'MONGO', 'TCP', 'TLS', 'UDP']

const SPEC = object(
  {
    hosts: listOf(must('nonEmpty'), { minItems: 1 }),
    addresses: listOf(must('range')),
    ports: listOf(
      object(
        {
          number: must('port'),
          name: TEXT,
          protocol: oneOf(...PROTOCOLS, ...PROTOCOLS.map((word) => word.toLowerCase())),
          targetPort: must('port'),
        },
        ['number'],
      ),
    ),
    location: oneOf('MESH_EXTERNAL', 'MESH_INTERNAL'),
    resolution: oneOf('NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS'),
    endpoints: listOf(object(WORKLOAD_ENTRY_FIELDS, ['address'])),
    workloadSelector: object({ labels: TEXT_MAP }),
    exportTo: notHonoured('every namespace sees the service'),
    subjectAltNames: listOf(must('nonEmpty')),
  },
  ['hosts'],
)

export const SERVICE_ENTRY: KindDefinition<'ServiceEntry', ServiceEntrySpec> = {
  kind: 'ServiceEntry',
  group: 'networking.istio.io',
  versions: ['v1', 'v1beta1', 'v1alpha3'],
  scope: 'namespace',
  fields: { spec: SPEC, status: true },
  required: ['spec'],
  unknownFields: 'warning',
  nullMeansAbsent: false,
  parse(object, _metadata, report) {
    const { spec } = object as unknown as RawServiceEntry
    checkHosts(spec, report)
    checkResolution(spec, report)
    const selector = spec.workloadSelector?.labels
    return {
      hosts: spec.hosts,
      addresses: (spec.addresses ?? []).map(canonicalRange),
      ports: (spec.ports ?? []).map(({ number, name = '', protocol, targetPort }) => ({
        name,
        port: number,
        targetPort: targetPort ?? number,
        protocol: serviceEntryProtocol(protocol, name),
      })),
      external: spec.location !== 'MESH_INTERNAL',
      resolution: spec.resolution === 'STATIC' ? 'static' : 'none',
      endpoints: (spec.endpoints ?? []).map((endpoint, at) =>
        parseWorkloadEntry(endpoint, ['spec', 'endpoints', at], report),
      ),
      ...(selector === undefined ? {} : { workloadSelector: selector }),
      subjectAltNames: spec.subjectAltNames ?? [],
    }
  },
}

/** A single address stays an address; a range loses its host bits. */
function canonicalRange(text: string): string {
  const cidr = parseCidr(text)
  const single = canonicalIp(text.split('/')[0] ?? '')
  if (cidr === undefined || single === undefined) return text
  return cidr.bits === 128 ? single : formatCidr(cidr)
}

function checkHosts(spec: RawServiceEntry['spec'], report: Report): void {
  const seen = new Set<string>()
  for (const [at, host] of spec.hosts.entries()) {
    const path = ['spec', 'hosts', at]
    const name = host.startsWith('*.') ? host.slice(2) : host
    if (host === '*') {
      report('error', path, 'a bare "*" would claim every name; name the hosts')
    } else if (!isDnsName(name) && canonicalIp(name) === undefined) {
      report('error', path, `expected a DNS name, found "${host}"`)
    }
    if (seen.has(host)) report('error', path, `host "${host}" is listed twice; remove one`)
    seen.add(host)
  }
  if ((spec.addresses ?? []).length > 0) return
  for (const [at, host] of spec.hosts.entries()) {
    if (!host.startsWith('*.')) continue
    const remedy = 'write "addresses", or name the hosts'
    report('warning', ['spec', 'hosts', at], `a wildcard is given no address; ${remedy}`)
  }
}

function checkResolution(spec: RawServiceEntry['spec'], report: Report): void {
  const resolution = spec.resolution ?? 'NONE'
  const endpoints = spec.endpoints?.length ?? 0
  if (resolution !== 'NONE' && resolution !== 'STATIC') {
    const remedy = 'use STATIC with endpoints, or NONE'
    report('error', ['spec', 'resolution'], `${resolution} is not supported yet; ${remedy}`)
  }
  if (spec.endpoints !== undefined && spec.workloadSelector !== undefined) {
    report('error', ['spec', 'workloadSelector'], 'excludes "endpoints"; keep one of the two')
  }
  if (resolution === 'NONE' && endpoints > 0) {
    report('error', ['spec', 'endpoints'], 'are not used with resolution NONE; use STATIC')
  }
  if (resolution === 'STATIC' && endpoints === 0 && spec.workloadSelector === undefined) {
    const message = 'STATIC needs "endpoints" or a "workloadSelector"; add one'
    report('error', ['spec', 'resolution'], message)
  }
  const ports = new Set<number>()
  for (const [at, { number }] of (spec.ports ?? []).entries()) {
    if (ports.has(number)) {
      report('error', ['spec', 'ports', at], `port ${number} is listed twice; remove one`)
    }
    ports.add(number)
  }
}
