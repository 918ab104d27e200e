// Judges live connections again after a change of policy: which of them end, and why.
import type { PeerMode } from '../model/authorization.ts'
import type { ConnectionFacts } from '../model/facts.ts'
import type { Reason } from '../model/reason.ts'
import { authorize, type BoundPolicies } from './authorize.ts'
import { acceptTransport } from './peer-mode.ts'

export interface LiveConnection {
  /** uid of the destination workload. */
  readonly workload: string
  readonly facts: ConnectionFacts
  /** Version of the tables it was last judged by. */
  readonly version: number
}

/** What holds now for connections to one workload. */
export interface CurrentSecurity {
  readonly policies: BoundPolicies
  readonly peer: PeerMode
}

export interface RecheckEnding<C> {
  readonly connection: C
  /** What the connection is closed with. */
  readonly reason: Extract<Reason, 'policy-changed' | 'workload-removed'>
  /** Why it would not be accepted now. */
  readonly because: Reason
  /** Key of the policy or PeerAuthentication, or why none was needed. */
  readonly by: string
}

/**
 * Connections already judged by `version` or a later one are left alone. `current` gives undefined
 * for a workload that is gone: its connections end, as nothing says any more that they may live.
 * An undecided verdict keeps the connection: the next layer judges each of its requests.
 */
export function recheck<C extends LiveConnection>(
  live: Iterable<C>,
  version: number,
  current: (workload: string) => CurrentSecurity | undefined,
): readonly RecheckEnding<C>[] {
  const endings: RecheckEnding<C>[] = []
  for (const connection of live) {
    if (connection.version >= version) continue
    const security = current(connection.workload)
    if (security === undefined) {
      const gone = 'workload-removed'
      endings.push({ connection, reason: gone, because: gone, by: 'no-workload' })
      continue
    }
    const { facts } = connection
    const transport = acceptTransport(security.peer, facts.destinationPort, facts.peer)
    const verdict = transport.kind === 'allow' ? authorize(security.policies, facts) : transport
    if (verdict.kind !== 'deny') continue
    endings.push({ connection, reason: 'policy-changed', because: verdict.reason, by: verdict.by })
  }
  return endings
}
