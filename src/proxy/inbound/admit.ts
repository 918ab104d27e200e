// Decides whether a connection may reach a workload of this node: the transport first, then the
// policies; what was judged is written down for later changes of policy.
import type { ConnectionFacts, PeerIdentity } from '../../model/facts.ts'
import type { Reason } from '../../model/reason.ts'
import type { Tables, TableWorkload } from '../../model/tables.ts'
import { authorize } from '../../policy/authorize.ts'
import { acceptTransport } from '../../policy/peer-mode.ts'
import type { Address, Connection } from '../connection.ts'
import type { SecurityCache } from '../security-cache.ts'

export interface Denial {
  readonly reason: Reason
  readonly detail: string
}

/** Undefined: admitted. Undecided cannot be settled at L4 and denies. */
export function admit(
  connection: Connection,
  workload: TableWorkload,
  target: Address,
  peer: PeerIdentity,
  tables: Tables,
  security: SecurityCache,
): Denial | undefined {
  const facts: ConnectionFacts = {
    peer,
    sourceIp: connection.source.ip,
    destinationIp: target.ip,
    destinationPort: target.port,
  }
  connection.version = tables.version
  connection.judged = { workload: workload.uid, facts, version: tables.version }
  const transport = acceptTransport(workload.peer, target.port, peer)
  const verdict =
    transport.kind === 'allow'
      ? authorize(security.policiesOf(tables, workload, 'destination'), facts)
      : transport
  switch (verdict.kind) {
    case 'allow':
      if (verdict.by !== 'no-policy') connection.policy = verdict.by
      return undefined
    case 'deny':
      connection.policy = verdict.by
      return { reason: verdict.reason, detail: verdict.by }
    case 'undecided':
      return { reason: 'policy-denied', detail: `needs the ${verdict.needs}, at L4 there is none` }
  }
}
