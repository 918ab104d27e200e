// The page to read first: what becomes of a connection, step by step. Every function returns how
// it ended; the caller (`data-plane.ts`) reports that, exactly once.
import { formatEndpoint } from '../base/ip.ts'
import { err, ok, type Result } from '../base/result.ts'
import type { Accepted } from '../kernel/kernel.ts'
import type { Ending, PeerIdentity } from '../model/facts.ts'
import { LIMITS } from '../model/limits.ts'
import { REASONS, type Reason } from '../model/reason.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'
import type { DnsMeter } from '../telemetry/dns-cells.ts'
import type { Address, Connection } from './connection.ts'
import { decide } from './dns/decide.ts'
import { TCP_BYTES_MAX } from './dns/response.ts'
import { serveNames } from './dns/tcp-session.ts'
import { DNS_PORT } from './dns/wire.ts'
import type { FlowBook } from './flow-book.ts'
import { type HostWorkloads, isNode } from './host-workloads.ts'
import { admit } from './inbound/admit.ts'
import {
  type Authority,
  connectTarget,
  parseConnect,
  type TargetRefusal,
} from './inbound/connect-target.ts'
import { deliver } from './inbound/deliver.ts'
import { hostTarget } from './inbound/host-target.ts'
import { isMeshPort } from './mesh-ports.ts'
import { type AttemptParts, connectUpstream } from './outbound/attempts.ts'
import type { DialFailure, Dialled } from './outbound/dial.ts'
import type { EndpointChoices } from './outbound/endpoints.ts'
import { type DecodeOrigin, originalDestination } from './outbound/original-destination.ts'
import { routeFor } from './outbound/route.ts'
import type { ByteStream } from './stream/byte-stream.ts'
import { relay } from './stream/relay.ts'
import type { TablesView } from './tables-view.ts'
import { baggage } from './tunnel/headers.ts'
import type { InboundRequest } from './tunnel/port.ts'

export interface PipelineParts extends AttemptParts {
  readonly view: TablesView
  readonly choices: EndpointChoices
  readonly decodeOrigin: DecodeOrigin
  readonly flows: Pick<FlowBook, 'ready'>
  /** The workloads that share this node's network. */
  readonly hosts: HostWorkloads
  /** Counts questions for names. */
  readonly dns: DnsMeter
}

/** What a request came through. */
export interface Tunnel {
  /** Where it was accepted. */
  readonly local: Address
  readonly peer: PeerIdentity
  /** Whom the peer was shown. */
  readonly identity: string
}

/** A workload of this node called; its connection was captured. */
export async function serveOutbound(
  connection: Connection,
  accepted: Accepted,
  client: ByteStream,
  parts: PipelineParts,
): Promise<Ending> {
  const original = originalDestination(accepted, parts.decodeOrigin)
  if (!original.ok) return broken(client, 'original-unknown', original.error)
  connection.destination = original.value
  const source = await localWorkload(connection, original.value.workload, parts)
  if (source === undefined) return broken(client, 'unknown-source', connection.pod.uid)
  connection.sourceWorkload = source
  const tables = parts.tables()
  if (tables.mesh.dns === 'capture' && original.value.port === DNS_PORT) {
    return answerNames(connection, source, client, parts)
  }
  const upstream = await reach(connection, source, parts)
  if (!upstream.ok) return broken(client, upstream.error.reason, upstream.error.detail)
  return carry(connection, client, upstream.value, tables, parts)
}

/** To where the connection was made, or to whom the mesh has there. */
async function reach(
  connection: Connection,
  source: TableWorkload,
  parts: PipelineParts,
): Promise<Result<ByteStream, DialFailure>> {
  const { pod, destination } = connection
  const tables = parts.tables()
  const route = routeFor(tables, pod, destination, parts.choices, parts.hosts)
  if (route.kind === 'refused') {
    if (route.reason === 'outbound-refused') connection.path = 'passthrough'
    return err(route)
  }
  connection.service = route.service?.hostname
  const { connectTimeoutMs } = tables.mesh
  return connectUpstream(
    { connection, source, service: route.service, connectTimeoutMs },
    route,
    parts,
  )
}

/** DNS over TCP: the mesh answers for its names, the resolver that was asked for the others. */
function answerNames(
  connection: Connection,
  source: TableWorkload,
  client: ByteStream,
  parts: PipelineParts,
): Promise<Ending> {
  const names = { view: parts.view, random: parts.random, meter: parts.dns }
  return serveNames(client, {
    meter: parts.dns,
    clock: parts.clock,
    signal: connection.signal,
    seen: connection,
    decide: (question) => decide(question, () => TCP_BYTES_MAX, connection.pod, names),
    connect: async () => {
      const resolver = await reach(connection, source, parts)
      if (resolver.ok) parts.flows.ready(connection)
      return resolver
    },
  })
}

/** A peer asks, through its tunnel, for a connection to a workload of this node. */
export async function serveInboundTunnel(
  connection: Connection,
  request: InboundRequest,
  tunnel: Tunnel,
  parts: PipelineParts,
): Promise<Ending> {
  const authority = parseConnect(request)
  if (!authority.ok) return refused(request, authority.error.reason, authority.error.detail)
  const asked = await askedOf(connection, authority.value, tunnel, parts)
  if (!asked.ok) return refused(request, asked.error.reason, asked.error.detail)
  const { workload, target } = asked.value
  connection.destination = target
  const tables = parts.tables()
  const denial = admit(connection, workload, target, tunnel.peer, tables, parts.security)
  if (denial !== undefined) return refused(request, denial.reason, denial.detail)
  const server = await deliverTo(workload, connection, target, parts)
  if (!server.ok) return refused(request, server.error.reason, server.error.detail)
  const client = request.accept({ baggage: baggage(workload) })
  return carry(connection, client, server.value, tables, parts)
}

/** Somebody outside the mesh, or the mesh's own plaintext, reached a workload of this node. */
export async function serveInboundPlaintext(
  connection: Connection,
  accepted: Accepted,
  client: ByteStream,
  parts: PipelineParts,
): Promise<Ending> {
  const target = connection.destination
  // A program of the pod met the listener itself, on loopback: a delivery there would come back
  // here. On the node, where a service may be on loopback, the kernel says whom it was for.
  const node = isNode(connection.pod)
  const own = node || connection.pod.addresses.includes(target.ip)
  if (!own || isMeshPort(target.port)) return broken(client, 'illegal-port', meshPort(target))
  const number = node ? parts.decodeOrigin(accepted.storage)?.workload : undefined
  const workload = await localWorkload(connection, number, parts)
  if (workload === undefined) return broken(client, 'unknown-workload', connection.pod.uid)
  connection.destinationWorkload = workload
  const tables = parts.tables()
  const peer: PeerIdentity = { kind: 'absent', reason: 'plaintext' }
  const denial = admit(connection, workload, target, peer, tables, parts.security)
  if (denial !== undefined) return broken(client, denial.reason, denial.detail)
  const server = await deliverTo(workload, connection, target, parts)
  if (!server.ok) return broken(client, server.error.reason, server.error.detail)
  return carry(connection, client, server.value, tables, parts)
}

function deliverTo(
  workload: TableWorkload,
  connection: Connection,
  target: Address,
  parts: PipelineParts,
): Promise<Dialled> {
  if (!parts.hosts.receives(connection.pod, workload, target.ip, target.port)) {
    const detail = `${workload.name} does not listen on port ${target.port}`
    return Promise.resolve(err({ reason: 'connect-failed', detail }))
  }
  return deliver(connection, target, parts.tables().mesh.connectTimeoutMs, parts)
}

/** Both ends are there: counts the connection and moves its bytes until it is over. */
function carry(
  connection: Connection,
  client: ByteStream,
  server: ByteStream,
  tables: Tables,
  parts: PipelineParts,
): Promise<Ending> {
  parts.flows.ready(connection)
  return relay(client, server, tables.mesh, parts.clock, connection.signal, connection)
}

/**
 * Known at once almost always; right after enrolment the tables may come a moment later. What met
 * the node's listeners is given to the workload of this number.
 */
async function localWorkload(
  connection: Connection,
  number: number | undefined,
  { hosts, view }: PipelineParts,
): Promise<TableWorkload | undefined> {
  const { signal } = connection
  if (isNode(connection.pod)) {
    const pod = number === undefined ? undefined : await hosts.numbered(number, signal)
    if (pod === undefined) return undefined
    connection.pod = pod
  }
  return view.workload(connection.pod.uid, LIMITS.workloadWaitMs, signal)
}

/** Whom a request is for, and where that one is: its listener tells, or on the node the port. */
async function askedOf(
  connection: Connection,
  authority: Authority,
  { local, identity }: Tunnel,
  parts: PipelineParts,
): Promise<Result<{ workload: TableWorkload; target: Address }, TargetRefusal>> {
  const { pod, source } = connection
  if (isNode(pod)) {
    const tunnel = { local, identity, peerIp: source.ip }
    const found = hostTarget(authority, tunnel, parts.hosts, parts.tables())
    if (!found.ok) return found
    connection.pod = found.value.pod
    connection.destinationWorkload = found.value.workload
    return ok({ workload: found.value.workload, target: found.value.address })
  }
  const workload = await localWorkload(connection, undefined, parts)
  if (workload === undefined) return err({ reason: 'unknown-workload', detail: pod.uid })
  connection.destinationWorkload = workload
  const target = connectTarget(authority, local, pod, workload, parts.tables())
  return target.ok ? ok({ workload, target: target.value }) : target
}

function meshPort({ ip, port }: Address): string {
  return `${formatEndpoint(ip, port)} is not the workload's`
}

/** Nothing was read from the client; it sees its connection reset. */
function broken(client: ByteStream, reason: Reason, detail: string): Ending {
  client.abort()
  return ended(reason, detail)
}

/** The peer gets the status that belongs to the reason. */
function refused(request: InboundRequest, reason: Reason, detail: string): Ending {
  request.refuse(REASONS[reason].hbone)
  return ended(reason, detail)
}

function ended(reason: Reason, detail: string): Ending {
  return { reason, detail, sentBytes: 0, receivedBytes: 0 }
}
