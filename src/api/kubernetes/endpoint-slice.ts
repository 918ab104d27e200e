// Kubernetes EndpointSlice: the endpoints of a Service that has no selector.
import { canonicalIp } from '../../base/ip.ts'
import { SERVICE_NAME_LABEL } from '../annotations.ts'
import {
  BOOLEAN,
  irrelevant,
  type KindDefinition,
  listOf,
  must,
  object,
  oneOf,
  TEXT,
} from '../schema.ts'

export interface SliceEndpoint {
  /** Canonical. */
  readonly addresses: readonly string[]
  readonly ready: boolean
  readonly node: string
  readonly zone: string
}

export interface EndpointSliceSpec {
  /** Name of the Service, in the same namespace. */
  readonly service: string
  readonly endpoints: readonly SliceEndpoint[]
  /** By the name of the service's port. */
  readonly ports: readonly { readonly name: string; readonly port: number }[]
}

interface RawEndpointSlice {
  readonly addressType: 'IPv4' | 'IPv6' | 'FQDN'
  readonly endpoints?: readonly {
    readonly addresses: readonly string[]
    readonly conditions?: { readonly ready?: boolean }
    readonly nodeName?: string
    readonly zone?: string
  }[]
  readonly ports?: readonly { readonly name?: string; readonly port?: number }[]
}

export const ENDPOINT_SLICE: KindDefinition<'EndpointSlice', EndpointSliceSpec> = {
  kind: 'EndpointSlice',
  group: 'discovery.k8s.io',
  versions: ['v1'],
  scope: 'namespace',
  fields: {
    addressType: oneOf('IPv4', 'IPv6', 'FQDN'),
    endpoints: listOf(
      object(
        {
          addresses: listOf(TEXT, { minItems: 1, maxItems: 100 }),
          conditions: object({ ready: BOOLEAN, ...irrelevant('serving terminating') }),
          nodeName: TEXT,
          zone: TEXT,
          ...irrelevant('hostname targetRef hints deprecatedTopology'),
        },
        ['addresses'],
      ),
      { maxItems: 1000 },
    ),
    ports: listOf(
      object({
        name: TEXT,
        port: must('port'),
        protocol: oneOf('TCP', 'UDP', 'SCTP'),
        appProtocol: TEXT,
      }),
    ),
  },
  required: ['addressType', 'endpoints'],
  unknownFields: 'warning',
  nullMeansAbsent: true,
  parse(object, metadata, report) {
    const raw = object as unknown as RawEndpointSlice
    const service = metadata.labels?.[SERVICE_NAME_LABEL]
    if (service === undefined) {
      const remedy = `add the label "${SERVICE_NAME_LABEL}: NAME"`
      report('error', ['metadata', 'labels'], `does not say which Service it is for; ${remedy}`)
    }
    if (raw.addressType === 'FQDN') {
      report('error', ['addressType'], 'names instead of addresses are not supported; use IPv4')
    }
    const endpoints = (raw.endpoints ?? []).map((endpoint, at) => ({
      addresses: endpoint.addresses.flatMap((text, index) => {
        const ip = canonicalIp(text)
        if (ip === undefined && raw.addressType !== 'FQDN') {
          const path = ['endpoints', at, 'addresses', index]
          report('error', path, `expected an ${raw.addressType} address, found "${text}"`)
        }
        return ip ?? []
      }),
      ready: endpoint.conditions?.ready ?? true,
      node: endpoint.nodeName ?? '',
      zone: endpoint.zone ?? '',
    }))
    const ports = (raw.ports ?? []).flatMap(({ name = '', port }) =>
      port === undefined ? [] : { name, port },
    )
    return { service: service ?? '', endpoints, ports }
  },
}
