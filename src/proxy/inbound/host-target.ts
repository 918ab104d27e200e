// Which of the workloads that share the node's network a CONNECT request is for, and where it may
// be delivered: the tunnel says under which identity, the port says which one.
import { err, ok, type Result } from '../../base/result.ts'
import type { LocalPod } from '../../model/messages.ts'
import type { Tables, TableWorkload } from '../../model/tables.ts'
import type { Address } from '../connection.ts'
import { servesAt } from '../host-index.ts'
import { type HostWorkloads, isLoopback } from '../host-workloads.ts'
import { identityOf } from '../identity-of.ts'
import {
  type Authority,
  bad,
  hostnameTarget,
  lawfulPort,
  type TargetRefusal,
} from './connect-target.ts'

export interface HostTunnel {
  /** Where it was accepted. */
  readonly local: Address
  readonly peerIp: string
  /** Whom the peer was shown. */
  readonly identity: string
}

export interface HostTarget {
  readonly pod: LocalPod
  readonly workload: TableWorkload
  readonly address: Address
}

type Member = Omit<HostTarget, 'address'>

/** A port of another identity, or of nobody, is a malformed request: 400. */
export function hostTarget(
  authority: Authority,
  tunnel: HostTunnel,
  hosts: HostWorkloads,
  tables: Tables,
): Result<HostTarget, TargetRefusal> {
  const members = membersOf(tunnel, hosts, tables)
  const named =
    authority.kind === 'ip'
      ? ipTarget(authority, tunnel)
      : serviceTarget(authority, tunnel.local.ip, members, tables)
  const target = named.ok ? lawfulPort(named.value) : named
  if (!target.ok) return target
  const address = target.value
  const member = ownerAmong(members, address, hosts)
  return member.ok ? ok({ ...member.value, address }) : member
}

/** The workloads of the tunnel's identity at its address: several where they share an account. */
function membersOf(
  { local, identity }: HostTunnel,
  hosts: HostWorkloads,
  tables: Tables,
): Member[] {
  const members: Member[] = []
  for (const pod of hosts.at(local.ip)) {
    const workload = tables.workloads.get(pod.uid)
    if (workload !== undefined && identityOf(workload) === identity) members.push({ pod, workload })
  }
  return members
}

/** What listens on loopback alone is for callers of the same node, whose address is ours. */
function ipTarget(
  { ip, port }: Address,
  { local, peerIp }: HostTunnel,
): Result<Address, TargetRefusal> {
  if (ip === local.ip) return ok({ ip, port })
  if (!isLoopback(ip)) return bad(`authority ${ip} is not the address of this workload`)
  if (peerIp === local.ip) return ok({ ip, port })
  return bad(`authority ${ip} is for callers on this node, not for ${peerIp}`)
}

function serviceTarget(
  authority: { readonly hostname: string; readonly port: number },
  ip: string,
  members: readonly Member[],
  tables: Tables,
): Result<Address, TargetRefusal> {
  for (const { workload } of members) {
    const target = hostnameTarget(authority, ip, workload, tables)
    if (target.ok) return target
  }
  const detail = `nobody of this identity serves ${authority.hostname} port ${authority.port}`
  return err({ reason: 'unknown-workload', detail })
}

/** Who listens there; while nobody does, who is configured to. */
function ownerAmong(
  members: readonly Member[],
  { ip, port }: Address,
  hosts: HostWorkloads,
): Result<Member, TargetRefusal> {
  const owner = hosts.ownerOf(ip, port)
  if (owner === 'unknown') {
    const detail = `port ${port} is of a workload that this node does not know yet`
    return err({ reason: 'unknown-workload', detail })
  }
  const member = members.find(({ pod, workload }) =>
    owner === undefined ? servesAt(workload, port) : pod.uid === owner.uid,
  )
  return member === undefined ? bad(`port ${port} is not of this identity`) : ok(member)
}
