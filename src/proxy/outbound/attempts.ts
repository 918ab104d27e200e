// Tries endpoints until one is reached, each judged before it is dialled, while not one byte of
// the connection has been read or sent.
import { formatEndpoint } from '../../base/ip.ts'
import { err, type Result } from '../../base/result.ts'
import type { ConnectionFacts } from '../../model/facts.ts'
import { LIMITS } from '../../model/limits.ts'
import { REASONS } from '../../model/reason.ts'
import type { Tables, TableWorkload } from '../../model/tables.ts'
import { authorize } from '../../policy/authorize.ts'
import type { Connection } from '../connection.ts'
import { isLoopback } from '../host-workloads.ts'
import { identityOf } from '../identity-of.ts'
import type { SecurityCache } from '../security-cache.ts'
import type { ByteStream } from '../stream/byte-stream.ts'
import {
  type DialFailure,
  type Dialled,
  type DialParts,
  dialPlain,
  dialTunnel,
  type Leg,
} from './dial.ts'
import { addressTowards, type Endpoint, pickEndpoint } from './endpoints.ts'
import type { Route } from './route-outcome.ts'

export interface AttemptParts extends DialParts {
  readonly security: SecurityCache
  /** The tables in force: a later attempt is judged by later rules. */
  readonly tables: () => Tables
}

/** Reasons: policy-denied, no-endpoint, and those of a dial. */
export async function connectUpstream(
  leg: Leg,
  route: Exclude<Route, { kind: 'refused' }>,
  parts: AttemptParts,
): Promise<Result<ByteStream, DialFailure>> {
  const { connection } = leg
  if (route.kind === 'passthrough') {
    connection.path = 'passthrough'
    connection.attempts = 1
    return dialPlain(leg, connection.destination, parts)
  }
  const tried = new Set<string>()
  let last: DialFailure | undefined
  while (tried.size < LIMITS.connectAttemptsMax) {
    const endpoint = pickEndpoint(
      route.choice,
      tried,
      (candidate) => addressOf(connection, candidate) !== undefined,
      parts.random,
    )
    const ip = endpoint === undefined ? undefined : addressOf(connection, endpoint)
    if (endpoint === undefined || ip === undefined) break
    tried.add(endpoint.workload.uid)
    connection.attempts = tried.size
    const dialled = await attempt(leg, endpoint, ip, parts)
    if (dialled.ok) return dialled
    last = dialled.error
    if (!REASONS[last.reason].retryable || connection.signal.aborted) break
  }
  return err(last ?? { reason: 'no-endpoint', detail: 'no endpoint has an address we can reach' })
}

async function attempt(
  leg: Leg,
  endpoint: Endpoint,
  ip: string,
  parts: AttemptParts,
): Promise<Dialled> {
  const { connection } = leg
  const target = { ip: endpoint.asked ?? ip, port: endpoint.port }
  connection.endpoint = formatEndpoint(target.ip, target.port)
  connection.destinationWorkload = endpoint.workload
  connection.path = pathTo(endpoint, connection)
  if (connection.path !== 'plaintext') connection.sourceIdentity = identityOf(leg.source)
  // A call by the node's loopback goes on through a tunnel, from the node's own address.
  const byLoopback = connection.pod.hostNetwork && isLoopback(connection.source.ip)
  const sourceIp = byLoopback ? ip : connection.source.ip
  const denied = judge(leg, endpoint, { sourceIp, destinationIp: target.ip }, parts)
  if (denied !== undefined) return err(denied)
  if (connection.path !== 'tunnel') return dialPlain(leg, target, parts)
  const dialled = await dialTunnel(leg, endpoint.workload, { ip, target }, parts)
  if (dialled.ok) connection.destinationIdentity = identityOf(endpoint.workload)
  return dialled
}

function pathTo({ workload }: Endpoint, { pod }: Connection): Connection['path'] {
  if (workload.uid === pod.uid) return 'self'
  return workload.tunnel === 'none' ? 'plaintext' : 'tunnel'
}

/** The destination's policies, so that a denied request never leaves. Undecided is left to it. */
function judge(
  { connection, source }: Leg,
  endpoint: Endpoint,
  ips: Pick<ConnectionFacts, 'sourceIp' | 'destinationIp'>,
  parts: AttemptParts,
): DialFailure | undefined {
  const tables = parts.tables()
  const workload: TableWorkload = tables.workloads.get(endpoint.workload.uid) ?? endpoint.workload
  const facts: ConnectionFacts = {
    peer: {
      kind: 'verified',
      id: identityOf(source),
      by: connection.path === 'self' ? 'kernel' : 'mtls',
    },
    ...ips,
    destinationPort: endpoint.port,
  }
  connection.judged = { workload: workload.uid, facts, version: tables.version }
  connection.version = tables.version
  const verdict = authorize(parts.security.policiesOf(tables, workload, 'source'), facts)
  if (verdict.kind === 'undecided') return undefined
  if (verdict.by !== 'no-policy') connection.policy = verdict.by
  if (verdict.kind === 'allow') return undefined
  return { reason: verdict.reason, detail: `${verdict.by}, judged at the source` }
}

/** Where its tunnel or it is dialled: at the address asked for, unless only its own node is there. */
function addressOf(connection: Connection, { workload, asked }: Endpoint): string | undefined {
  if (asked !== undefined && !isLoopback(asked)) return asked
  return addressTowards(workload, connection.destination.ip, connection.pod)
}
