// Registry and Rules -> Tables: what workers look things up in. Entries that say the same as
// before stay the same objects, so that differences are found by identity.
import { PersistentMap } from '../base/persistent-map.ts'
import type { AuthorizationPolicy } from '../model/authorization.ts'
import type { Registry, Rules } from '../model/registry.ts'
import type { TableService, Tables, TableWorkload } from '../model/tables.ts'
import { resolvePeerMode } from '../policy/peer-mode.ts'
import { policiesFor } from '../policy/select.ts'
import { deepFreeze, sameData } from './freeze.ts'

/**
 * The whole registry is kept: any captured workload may call any service, so nothing is out of
 * reach of local workloads until scopes for outbound traffic exist.
 */
export function tablesFor(
  registry: Registry,
  rules: Rules,
  version: number,
  previous?: Tables,
): Tables {
  const { mesh } = rules
  const policies = [...rules.authorization.values()]
  const peers = [...rules.peerAuthentication.values()]
  const workloads = new Map<string, TableWorkload>()
  const endpoints = new Map<string, string[]>()
  const workloadByIp = new Map<string, string>()
  for (const workload of registry.workloads.values()) {
    workloads.set(workload.uid, {
      ...workload,
      policies: policiesFor(workload, policies, mesh.rootNamespace),
      peer: resolvePeerMode(workload, peers, mesh.rootNamespace),
    })
    for (const key of Object.keys(workload.services)) {
      const list = endpoints.get(key)
      if (list === undefined) endpoints.set(key, [workload.uid])
      else list.push(workload.uid)
    }
    // Addresses mean something in their own network only.
    if (workload.hostNetwork || workload.network !== mesh.network) continue
    for (const ip of workload.addresses) workloadByIp.set(ip, workload.uid)
  }
  const services = new Map<string, TableService>()
  const serviceByVip = new Map<string, string>()
  const serviceByRange = new Map<string, string>()
  const serviceByHost = new Map<string, string[]>()
  for (const service of registry.services.values()) {
    services.set(service.key, { ...service, endpoints: (endpoints.get(service.key) ?? []).sort() })
    const namesakes = serviceByHost.get(service.hostname)
    if (namesakes === undefined) serviceByHost.set(service.hostname, [service.key])
    else namesakes.push(service.key)
    for (const vip of service.vips) {
      const index = vip.includes('/') ? serviceByRange : serviceByVip
      // The first host of a ServiceEntry owns the addresses that its hosts share.
      if (!index.has(vip)) index.set(vip, service.key)
    }
  }
  for (const keys of serviceByHost.values()) keys.sort()
  return Object.freeze({
    version,
    mesh: previous !== undefined && sameData(previous.mesh, mesh) ? previous.mesh : mesh,
    workloads: mapFor(workloads, previous?.workloads),
    services: mapFor(services, previous?.services),
    policies: mapFor<AuthorizationPolicy>(rules.authorization, previous?.policies),
    workloadByIp: mapFor(workloadByIp, previous?.workloadByIp),
    serviceByVip: mapFor(serviceByVip, previous?.serviceByVip),
    serviceByHost: mapFor<readonly string[]>(serviceByHost, previous?.serviceByHost),
    serviceByRange: mapFor(serviceByRange, previous?.serviceByRange),
  })
}

/** The previous map itself when nothing changed. */
function mapFor<V>(
  entries: ReadonlyMap<string, V>,
  previous: PersistentMap<V> = PersistentMap.empty<V>(),
): PersistentMap<V> {
  const draft = previous.draft()
  let changed = false
  for (const [key] of previous) {
    if (!entries.has(key)) changed = draft.delete(key) || changed
  }
  for (const [key, value] of entries) {
    if (sameData(previous.get(key), value)) continue
    draft.set(key, deepFreeze(value))
    changed = true
  }
  return changed ? draft.commit() : previous
}
