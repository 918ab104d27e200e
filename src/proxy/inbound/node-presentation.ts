// Whom the node's own HBONE listener presents: the identities of the workloads that share the
// address a peer called, each by its server name.
import type { Presentation } from '../../identity/present/accept-client.ts'
import type { IdentityStore, WorkloadIdentity } from '../../identity/present/identity-store.ts'
import type { Reason } from '../../model/reason.ts'
import type { Tables } from '../../model/tables.ts'
import type { HostWorkloads } from '../host-workloads.ts'
import { identityOf, serverNameOf } from '../identity-of.ts'

export interface Failure {
  readonly reason: Reason
  readonly detail: string
}

export interface NodePresentation {
  readonly presentation: Presentation<WorkloadIdentity>
  /** Why the name that was asked for got nothing; undefined before. */
  readonly refusal: () => Failure | undefined
}

/** Reasons: unknown-workload, identity-unavailable. */
export function presentNode(
  ip: string,
  hosts: HostWorkloads,
  tables: Tables | undefined,
  identities: Pick<IdentityStore, 'get' | 'anonymous'>,
  nowMs: number,
): NodePresentation | Failure {
  const ids = identitiesAt(ip, hosts, tables)
  const [only] = ids.values()
  if (only === undefined) return { reason: 'unknown-workload', detail: `nobody is at ${ip}` }
  let refusal: Failure | undefined
  const named = (serverName: string): WorkloadIdentity | undefined => {
    const id = ids.get(serverName)
    if (id === undefined) {
      refusal = { reason: 'unknown-workload', detail: `nobody at ${ip} is ${serverName}` }
      return undefined
    }
    const identity = usable(identities, id, nowMs)
    if (!('reason' in identity)) return identity
    refusal = identity
    return undefined
  }
  const unnamed = ids.size === 1 ? usable(identities, only, nowMs) : undefined
  if (unnamed !== undefined && 'reason' in unnamed) return unnamed
  const { anonymous } = identities
  return {
    presentation: { kind: 'several', unnamed, named, anonymous },
    refusal: () => refusal,
  }
}

/** Identities of the workloads at an address of the node, by server name. */
export function identitiesAt(
  ip: string,
  hosts: HostWorkloads,
  tables: Tables | undefined,
): ReadonlyMap<string, string> {
  const ids = new Map<string, string>()
  for (const { uid } of hosts.at(ip)) {
    const workload = tables?.workloads.get(uid)
    if (workload !== undefined) ids.set(serverNameOf(workload), identityOf(workload))
  }
  return ids
}

/** The certificate in force; or `identity-unavailable`. */
export function usable(
  identities: Pick<IdentityStore, 'get'>,
  id: string,
  nowMs: number,
): WorkloadIdentity | Failure {
  const identity = identities.get(id)
  if (identity !== undefined && identity.notAfterMs > nowMs) return identity
  const state = identity === undefined ? 'not issued yet' : 'expired'
  return { reason: 'identity-unavailable', detail: `${id}: ${state}` }
}
