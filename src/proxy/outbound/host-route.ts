// Whom a call to a node's own address is for, where no service has that address: the workload on
// that node's network that serves the port. Nobody does: then it is the node's business, not ours.
import type { LocalPod } from '../../model/messages.ts'
import type { Tables } from '../../model/tables.ts'
import type { Address } from '../connection.ts'
import { hostNetworkAt, servesAt } from '../host-index.ts'
import { type HostWorkloads, isLoopback } from '../host-workloads.ts'
import { identityOf } from '../identity-of.ts'
import { isMeshPort } from '../mesh-ports.ts'
import { type Route, refused, routeTo } from './route-outcome.ts'

/** Undefined: no workload of the mesh is there. Reasons of a refusal: illegal-port, no-endpoint. */
export function hostRoute(
  tables: Tables,
  from: LocalPod,
  to: Address,
  hosts: HostWorkloads,
): Route | undefined {
  const own = from.hostNetwork && (isLoopback(to.ip) || from.addresses.includes(to.ip))
  const there = hostNetworkAt(tables, to.ip)
  const meshed = there.filter(({ tunnel }) => tunnel === 'hbone')
  if (meshed.length > 0 && isMeshPort(to.port)) {
    return refused('illegal-port', `port ${to.port} of a node`)
  }
  if (own || hosts.at(to.ip).length > 0) {
    const owner = hosts.ownerOf(to.ip, to.port)
    if (owner !== undefined) return ownerRoute(tables, to, owner)
  }
  const serving = meshed.filter((workload) => servesAt(workload, to.port))
  const [first] = serving
  if (first !== undefined) {
    const identities = new Set(serving.map(identityOf))
    if (identities.size === 1) return routeTo({ workload: first, port: to.port, asked: to.ip })
    const detail = `${[...identities].join(' and ')} claim port ${to.port} of ${to.ip}`
    return refused('no-endpoint', `ambiguous: ${detail}`)
  }
  // The kernel captures calls to the node itself only where a workload listens.
  return own ? refused('no-endpoint', `nobody serves port ${to.port} any more`) : undefined
}

function ownerRoute(tables: Tables, { ip, port }: Address, owner: LocalPod | 'unknown'): Route {
  const workload = owner === 'unknown' ? undefined : tables.workloads.get(owner.uid)
  if (workload !== undefined) return routeTo({ workload, port, asked: ip })
  return refused('no-endpoint', `port ${port} is of a workload that is not known yet`)
}
