// What a CONNECT request asks for, and whether it may ask this workload for it. The statuses are
// ztunnel's (`proxy/inbound.rs`): 400 malformed or another workload, 503 unknown or not served.
import { parseEndpoint } from '../../base/ip.ts'
import type { PersistentMap } from '../../base/persistent-map.ts'
import { err, ok, type Result } from '../../base/result.ts'
import type { LocalPod } from '../../model/messages.ts'
import type { Reason } from '../../model/reason.ts'
import type { TableService, Tables, TableWorkload } from '../../model/tables.ts'
import type { Address } from '../connection.ts'
import { isMeshPort } from '../mesh-ports.ts'

export interface ConnectHead {
  readonly method: string
  readonly authority: string
}

/** `host` is an IP, or the hostname of a service. */
export type Authority =
  | { readonly kind: 'ip'; readonly ip: string; readonly port: number }
  | { readonly kind: 'hostname'; readonly hostname: string; readonly port: number }

export interface TargetRefusal {
  readonly reason: Extract<Reason, 'bad-request' | 'unknown-workload' | 'illegal-port'>
  readonly detail: string
}

/** Before anything is looked up: method and form. */
export function parseConnect(head: ConnectHead): Result<Authority, TargetRefusal> {
  if (head.method !== 'CONNECT') {
    return bad(`method ${JSON.stringify(head.method.slice(0, 32))} where CONNECT belongs`)
  }
  // Brackets belong to IPv6 alone (RFC 3986 3.2.2).
  const bracketed = /^\[[^:]*\]/.test(head.authority)
  const endpoint = bracketed ? undefined : parseEndpoint(head.authority)
  if (endpoint !== undefined) return ok({ kind: 'ip', ...endpoint })
  const match = HOSTNAME_PORT.exec(head.authority)
  const port = Number(match?.[2])
  if (match?.[1] === undefined || !(port >= 1 && port <= 65_535)) {
    return bad(`authority ${JSON.stringify(head.authority.slice(0, 64))} is not host:port`)
  }
  return ok({ kind: 'hostname', hostname: match[1].toLowerCase(), port })
}

/** A letter in the last label keeps malformed IPv4 addresses from being taken for names. */
const HOSTNAME_PORT = /^((?:[a-z0-9_-]{1,63}\.)*(?=[a-z0-9-]*[a-z])[a-z0-9-]{1,63}):([0-9]{1,5})$/i

/** The address and port of the workload itself. `local` is where the tunnel was accepted. */
export function connectTarget(
  authority: Authority,
  local: Address,
  pod: LocalPod,
  workload: TableWorkload,
  tables: Tables,
): Result<Address, TargetRefusal> {
  const target =
    authority.kind === 'ip'
      ? ipTarget(authority, local, pod)
      : hostnameTarget(authority, local.ip, workload, tables)
  return target.ok ? lawfulPort(target.value) : target
}

/** A port of the mesh itself is nobody's. */
export function lawfulPort(target: Address): Result<Address, TargetRefusal> {
  if (!isMeshPort(target.port)) return ok(target)
  return err({ reason: 'illegal-port', detail: `port ${target.port}` })
}

function ipTarget(
  { ip, port }: { readonly ip: string; readonly port: number },
  local: Address,
  pod: LocalPod,
): Result<Address, TargetRefusal> {
  if (ip !== local.ip || !pod.addresses.includes(ip)) {
    return bad(`authority ${ip} is not the address of this workload`)
  }
  return ok({ ip, port })
}

/** Where the workload serves a port of the service of this name. */
export function hostnameTarget(
  { hostname, port }: { readonly hostname: string; readonly port: number },
  ip: string,
  workload: TableWorkload,
  tables: Tables,
): Result<Address, TargetRefusal> {
  for (const service of servicesNamed(tables.services, hostname)) {
    const pair = workload.services[service.key]?.find((entry) => entry.servicePort === port)
    if (pair !== undefined) return ok({ ip, port: pair.targetPort })
  }
  const detail = `this workload serves no ${hostname} port ${port}`
  return err({ reason: 'unknown-workload', detail })
}

const BY_HOSTNAME = new WeakMap<PersistentMap<TableService>, Map<string, TableService[]>>()

function servicesNamed(
  services: PersistentMap<TableService>,
  hostname: string,
): readonly TableService[] {
  let index = BY_HOSTNAME.get(services)
  if (index === undefined) {
    index = new Map()
    for (const service of services.values()) {
      const named = index.get(service.hostname)
      if (named === undefined) index.set(service.hostname, [service])
      else named.push(service)
    }
    BY_HOSTNAME.set(services, index)
  }
  return index.get(hostname) ?? []
}

/** What is malformed or names another workload. */
export function bad(detail: string): { readonly ok: false; readonly error: TargetRefusal } {
  return err({ reason: 'bad-request', detail })
}
