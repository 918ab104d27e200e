// Tables -> what the kernel may decide by itself on this node: connections between two local
// workloads for which no proxy is needed. Whatever is not said here takes the agent.

import { type Cidr, cidrContains, parseCidr } from '../base/cidr.ts'
import { parseIp } from '../base/ip.ts'
import type { TableService, Tables, TableWorkload } from '../model/tables.ts'
import type { WantedBackend, WantedMaps, WantedService } from '../model/wanted-maps.ts'
import { addressLike, wantedVerdicts } from './wanted-verdicts.ts'

export function wantedMaps(tables: Tables, nodeName: string): WantedMaps {
  const { version } = tables
  if (tables.mesh.directPath === 'off') return { version, services: [], verdicts: [] }
  const local = localWorkloads(tables, nodeName)
  return {
    version,
    services: wantedServices(tables, local),
    verdicts: wantedVerdicts(tables, local),
  }
}

/** Workloads of this node that the kernel knows by a namespace of their own, sorted by uid. */
function localWorkloads(tables: Tables, nodeName: string): readonly TableWorkload[] {
  return [...tables.workloads.values()]
    .filter(
      (workload) =>
        workload.node === nodeName &&
        nodeName !== '' &&
        workload.tunnel === 'hbone' &&
        !workload.hostNetwork &&
        workload.addresses.length > 0 &&
        workload.addresses.every((ip) => tables.workloadByIp.get(ip) === workload.uid),
    )
    .sort((a, b) => (a.uid < b.uid ? -1 : 1))
}

type Transport = WantedService['protocol']

function wantedServices(tables: Tables, local: readonly TableWorkload[]): WantedService[] {
  const byUid = new Map(local.map((workload) => [workload.uid, workload]))
  const wanted = new Map<string, WantedService>()
  const add = (service: WantedService): void => {
    const key = `${service.ip} ${service.port} ${service.protocol}`
    if (!wanted.has(key)) wanted.set(key, service)
  }
  for (const service of tables.services.values()) {
    for (const entry of directService(tables, service, byUid)) add(entry)
  }
  const ranges = [...tables.serviceByRange].flatMap(([range]) => parseCidr(range) ?? [])
  for (const workload of local) {
    for (const [port, transports] of directTransports(tables, workload)) {
      for (const ip of workload.addresses) {
        // A virtual address comes before the workload that has the same one.
        if (coveredByService(tables, ranges, ip)) continue
        for (const protocol of transports) {
          add({ ip, port, protocol, backends: [{ ip, port, workload: workload.uid }] })
        }
      }
    }
  }
  return [...wanted.keys()].sort().flatMap((key) => wanted.get(key) ?? [])
}

function coveredByService(tables: Tables, ranges: readonly Cidr[], ip: string): boolean {
  if (tables.serviceByVip.has(ip)) return true
  const bytes = parseIp(ip)
  return bytes === undefined || ranges.some((range) => cidrContains(range, bytes))
}

/**
 * The addresses of a service that need no agent: every endpoint is here, of the address's family,
 * of equal weight, and its port is a candidate. One endpoint elsewhere, and the agent balances.
 */
function directService(
  tables: Tables,
  service: TableService,
  local: ReadonlyMap<string, TableWorkload>,
): WantedService[] {
  if (service.resolution !== 'static') return []
  const endpoints = service.endpoints.map((uid) => local.get(uid))
  const here = endpoints.flatMap((workload) => workload ?? [])
  if (here.length === 0 || here.length !== endpoints.length) return []
  if (here.some(({ capacity }) => capacity !== here[0]?.capacity || capacity === 0)) return []
  const wanted: WantedService[] = []
  for (const ip of service.vips) {
    if (tables.serviceByVip.get(ip) !== service.key) continue
    for (const { port, protocol } of service.ports) {
      const transport = transportOf(service, protocol)
      if (transport === undefined) continue
      const all = here.map((workload) => backendOf(service, workload, ip, port))
      const backends = all.flatMap((backend, at) => {
        const counts = here[at]?.status === 'healthy' || service.allowUnhealthy
        return backend !== undefined && counts ? backend : []
      })
      if (all.includes(undefined) || backends.length === 0) continue
      wanted.push({ ip, port, protocol: transport, backends })
    }
  }
  return wanted
}

/** Undefined: only the agent can serve this port. */
function transportOf(
  service: TableService,
  protocol: TableService['ports'][number]['protocol'],
): Transport | undefined {
  if (protocol === 'udp') return 'udp'
  return protocol === 'tcp' || service.annotatedDirect ? 'tcp' : undefined
}

function backendOf(
  service: TableService,
  workload: TableWorkload,
  vip: string,
  servicePort: number,
): WantedBackend | undefined {
  const ip = addressLike(workload, vip)
  const pairs = workload.services[service.key]?.filter((pair) => pair.servicePort === servicePort)
  const port = pairs?.length === 1 ? pairs[0]?.targetPort : undefined
  if (ip === undefined || port === undefined || !workload.directPorts.includes(port)) {
    return undefined
  }
  return { ip, port, workload: workload.uid }
}

/** By candidate port of the workload: the transports that service ports say it carries. */
function directTransports(
  tables: Tables,
  workload: TableWorkload,
): ReadonlyMap<number, ReadonlySet<Transport>> {
  const transports = new Map<number, Set<Transport>>()
  for (const [key, pairs] of Object.entries(workload.services)) {
    for (const { servicePort, targetPort } of pairs) {
      for (const { port, protocol } of tables.services.get(key)?.ports ?? []) {
        if (port !== servicePort) continue
        const known = transports.get(targetPort) ?? new Set()
        transports.set(targetPort, known.add(protocol === 'udp' ? 'udp' : 'tcp'))
      }
    }
  }
  return new Map(
    workload.directPorts.map((port) => [port, transports.get(port) ?? new Set(['tcp'] as const)]),
  )
}
