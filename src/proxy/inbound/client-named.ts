// How a client is called in logs and metrics: by the workload that has the identity it proved and
// the address it came from.

import { parseSpiffeId } from '../../model/spiffe-id.ts'
import type { Tables } from '../../model/tables.ts'
import type { Connection } from '../connection.ts'
import { hostNetworkOf } from '../host-index.ts'
import { identityOf } from '../identity-of.ts'

/**
 * The only workload of this identity at this address, among those that share a node's address too;
 * with none or several, what the identity alone tells. A caller on the network of the node of `to`
 * may come from whichever of the node's addresses is nearest.
 */
export function clientNamed(
  tables: Tables | undefined,
  id: string,
  ip: string,
  to: string,
): Connection['sourceWorkload'] {
  if (tables === undefined) return anonymous(id)
  const uid = tables.workloadByIp.get(ip)
  if (uid !== undefined) {
    const workload = tables.workloads.get(uid)
    return workload !== undefined && identityOf(workload) === id ? workload : anonymous(id)
  }
  const sharing = hostNetworkOf(tables, id)
  if (sharing.length === 0) return anonymous(id)
  const there = sharing.filter(({ addresses }) => addresses.includes(ip))
  const here = tables.workloads.get(to)?.node
  const near = there.length > 0 ? there : sharing.filter(({ node }) => node !== '' && node === here)
  return near.length === 1 ? near[0] : anonymous(id)
}

function anonymous(id: string): Connection['sourceWorkload'] {
  const parts = parseSpiffeId(id)
  return parts === undefined ? undefined : { namespace: parts.namespace }
}
