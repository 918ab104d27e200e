// How a client is called in logs and metrics: by the workload that has the identity it proved and
// the address it came from.

import { parseSpiffeId } from '../../model/spiffe-id.ts'
import type { Tables } from '../../model/tables.ts'
import type { Connection } from '../connection.ts'
import { hostNetworkAt } from '../host-index.ts'
import { identityOf } from '../identity-of.ts'

/**
 * The only workload of this identity at this address, among those that share a node's address too;
 * with none or several, what the identity alone tells.
 */
export function clientNamed(
  tables: Tables | undefined,
  id: string,
  ip: string,
): Connection['sourceWorkload'] {
  const uid = tables?.workloadByIp.get(ip)
  const workload = uid === undefined ? undefined : tables?.workloads.get(uid)
  if (workload !== undefined && identityOf(workload) === id) return workload
  const sharing = tables === undefined ? [] : hostNetworkAt(tables, ip)
  const [first, second] = sharing.filter((one) => identityOf(one) === id)
  if (first !== undefined && second === undefined) return first
  const parts = parseSpiffeId(id)
  return parts === undefined ? undefined : { namespace: parts.namespace }
}
