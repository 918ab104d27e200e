// Decides what an outbound connection is for: a service, one workload, or something the mesh does
// not know. By the captured address only, service first. Source: ztunnel `fetch_upstream`.

import { type Cidr, cidrContains, parseCidr } from '../../base/cidr.ts'
import { isV4, parseIp } from '../../base/ip.ts'
import type { PersistentMap } from '../../base/persistent-map.ts'
import type { LocalPod } from '../../model/messages.ts'
import type { TableService, Tables } from '../../model/tables.ts'
import type { Address } from '../connection.ts'
import { DNS_PORT } from '../dns/wire.ts'
import { hostNetworkAt } from '../host-index.ts'
import { type HostWorkloads, isLoopback } from '../host-workloads.ts'
import { isMeshPort } from '../mesh-ports.ts'
import type { EndpointChoices } from './endpoints.ts'
import { hostRoute } from './host-route.ts'
import { type Route, refused, routeTo } from './route-outcome.ts'

/** Reasons of a refusal: illegal-port, no-endpoint, outbound-refused. */
export function routeFor(
  tables: Tables,
  from: LocalPod,
  to: Address,
  choices: EndpointChoices,
  hosts: HostWorkloads,
): Route {
  const own = isLoopback(to.ip) || from.addresses.includes(to.ip)
  if (own && isMeshPort(to.port)) {
    return refused('illegal-port', `port ${to.port} of the caller itself`)
  }
  // A program that asks a resolver of its own host is not leaving, and no range is about it.
  const ownResolver = isLoopback(to.ip) && to.port === DNS_PORT
  const service = ownResolver ? undefined : serviceAt(tables, to.ip)
  if (service !== undefined) return serviceRoute(tables, service, to, choices)
  const shared = hostRoute(tables, from, to, hosts)
  // First, because a list of endpoints may make of the same node a workload outside the mesh.
  if (shared !== undefined && hostNetworkAt(tables, to.ip).length > 0) return shared
  const uid = tables.workloadByIp.get(to.ip)
  const workload = uid === undefined ? undefined : tables.workloads.get(uid)
  if (workload !== undefined) {
    if (workload.tunnel === 'hbone' && isMeshPort(to.port)) {
      return refused('illegal-port', `port ${to.port} of ${workload.name}`)
    }
    return routeTo({ workload, port: to.port })
  }
  if (shared !== undefined) return shared
  if (tables.mesh.outboundTrafficPolicy === 'registry-only' && !ownResolver) {
    return refused('outbound-refused', 'no service or workload has this address')
  }
  return { kind: 'passthrough', service: undefined }
}

function serviceRoute(
  tables: Tables,
  service: TableService,
  to: Address,
  choices: EndpointChoices,
): Route {
  if (service.resolution === 'none') return { kind: 'passthrough', service }
  if (!service.ports.some((port) => port.port === to.port)) {
    return refused('no-endpoint', `service ${service.key} has no port ${to.port}`)
  }
  const choice = choices.of(tables, service, to.port)
  if (choice.items.length === 0) {
    return refused('no-endpoint', `service ${service.key} port ${to.port}`)
  }
  return { kind: 'endpoints', service, choice }
}

/** The service with this virtual address, or with the longest range around it. */
export function serviceAt(tables: Tables, ip: string): TableService | undefined {
  const key = tables.serviceByVip.get(ip) ?? rangeAround(tables.serviceByRange, ip)
  return key === undefined ? undefined : tables.services.get(key)
}

interface Range {
  readonly cidr: Cidr
  readonly service: string
}

const RANGES = new WeakMap<PersistentMap<string>, readonly Range[]>()

function rangeAround(ranges: PersistentMap<string>, ip: string): string | undefined {
  if (ranges.size === 0) return undefined
  const bytes = parseIp(ip)
  if (bytes === undefined) return undefined
  for (const { cidr, service } of sortedRanges(ranges)) {
    // `::/0` holds every IPv6 address and no IPv4 one, though IPv4 is held v4-mapped.
    if (cidr.bits < 96 && isV4(bytes)) continue
    if (cidrContains(cidr, bytes)) return service
  }
  return undefined
}

/** Longest prefix first. */
function sortedRanges(ranges: PersistentMap<string>): readonly Range[] {
  const held = RANGES.get(ranges)
  if (held !== undefined) return held
  const sorted: Range[] = []
  for (const [text, service] of ranges) {
    const cidr = parseCidr(text)
    if (cidr !== undefined) sorted.push({ cidr, service })
  }
  sorted.sort((a, b) => b.cidr.bits - a.cidr.bits)
  RANGES.set(ranges, sorted)
  return sorted
}
