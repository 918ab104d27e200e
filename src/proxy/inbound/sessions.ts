// Tunnel sessions that peers opened with workloads of this node: authenticates each, and makes a
// connection of every CONNECT request in it.
import type { Timer } from '../../base/clock.ts'
import type { IdentityStore, WorkloadIdentity } from '../../identity/present/identity-store.ts'
import type { Accepted } from '../../kernel/kernel.ts'
import type { Ending } from '../../model/facts.ts'
import { LIMITS } from '../../model/limits.ts'
import type { LocalPod } from '../../model/messages.ts'
import { REASONS, type Reason } from '../../model/reason.ts'
import type { ProxyMeter } from '../../telemetry/proxy-cells.ts'
import { type Address, Connection } from '../connection.ts'
import { isNode } from '../host-workloads.ts'
import { identityOf } from '../identity-of.ts'
import { type PipelineParts, serveInboundTunnel } from '../pipeline.ts'
import { stopOf } from '../stream/byte-stream.ts'
import type {
  InboundRequest,
  ServedSession,
  ServeOutcome,
  TunnelTransport,
} from '../tunnel/port.ts'
import { clientNamed } from './client-named.ts'
import {
  type Failure,
  identitiesAt,
  type NodePresentation,
  presentNode,
  usable,
} from './node-presentation.ts'

export interface InboundSessionsParts {
  readonly transport: TunnelTransport
  readonly identities: Pick<IdentityStore, 'get' | 'anonymous'>
  readonly pipeline: PipelineParts
  readonly meter: ProxyMeter
}

/** Serves, counts and reports a connection; `abandon` lets go of it after a defect. */
export type Run = (
  connection: Connection,
  serve: () => Ending | Promise<Ending>,
  abandon: () => void,
) => void

interface Held {
  readonly session: ServedSession
  readonly pod: LocalPod
  /** Where it was accepted. */
  readonly ip: string
  readonly identity: WorkloadIdentity
  readonly expiry: Timer
}

/** A session is retired this long before our certificate ends. */
const EXPIRY_MARGIN_MS = 60_000

export class InboundSessions {
  readonly #parts: InboundSessionsParts
  readonly #run: Run
  readonly #full: () => boolean
  readonly #held = new Set<Held>()
  readonly #handshakes = new Set<Connection>()
  #draining = false

  constructor(parts: InboundSessionsParts, run: Run, full: () => boolean) {
    this.#parts = parts
    this.#run = run
    this.#full = full
  }

  get size(): number {
    return this.#held.size + this.#handshakes.size
  }

  /** A handshake that fails is reported; one that succeeds carries connections that are. */
  readonly serve = (pod: LocalPod, accepted: Accepted): void => {
    const handshake = this.#connection(pod, accepted)
    this.#handshakes.add(handshake)
    void this.#handshake(handshake, accepted).then((failure) => {
      this.#handshakes.delete(handshake)
      if (failure === undefined) return
      const ending: Ending = { ...failure, sentBytes: 0, receivedBytes: 0 }
      this.#run(
        handshake,
        () => ending,
        () => {},
      )
    })
  }

  /** Sessions made with an older certificate of ours take no new streams. */
  identityReplaced(id: string, serial: number): void {
    for (const { session, identity } of this.#held) {
      if (identity.id === id && identity.serial < serial) session.retire()
    }
  }

  /** Peers were verified by roots of which one is no longer accepted: they must prove themselves
   * again. */
  closeIdentity(id: string): void {
    for (const held of [...this.#held]) if (held.identity.id === id) held.session.destroy()
  }

  /** On the node: when the last workload of a session's identity has gone. */
  closeWorkload(uid: string, reason: Reason): void {
    for (const handshake of this.#handshakes) if (handshake.pod.uid === uid) handshake.stop(reason)
    for (const held of [...this.#held]) {
      if (held.pod.uid === uid || this.#orphaned(held)) held.session.destroy()
    }
  }

  retireAll(): void {
    this.#draining = true
    for (const { session } of this.#held) session.retire()
  }

  destroyAll(): void {
    this.#draining = true
    for (const handshake of this.#handshakes) handshake.stop('draining')
    for (const { session } of [...this.#held]) session.destroy()
  }

  async #handshake(handshake: Connection, accepted: Accepted): Promise<Failure | undefined> {
    const { pod, signal } = handshake
    const { transport, pipeline } = this.#parts
    const local = { ip: accepted.local.address, port: accepted.local.port }
    const ready = this.#full() ? overloaded() : await this.#presentation(handshake, local.ip)
    if ('reason' in ready) {
      pipeline.streams.adopt(accepted.fd).abort()
      return ready
    }
    const served = await transport.serve({
      fd: accepted.fd,
      presentation: ready.presentation,
      signal,
      onRequest: (session, request) => this.#request(handshake, local, session, request),
    })
    if (signal.aborted) {
      if (served.ok) served.value.session.destroy()
      const stop = stopOf(signal)
      return { reason: stop.reason, detail: stop.detail ?? 'during the handshake' }
    }
    if (!served.ok) return ready.refusal() ?? served.error
    this.#hold(pod, local.ip, served.value)
    return undefined
  }

  #hold(pod: LocalPod, ip: string, { session, closed }: ServeOutcome): void {
    const { pipeline, meter } = this.#parts
    const { identity } = session
    const leftMs = identity.notAfterMs - EXPIRY_MARGIN_MS - pipeline.clock.nowMs()
    const expiry = pipeline.clock.after(leftMs, () => session.retire())
    const held: Held = { session, pod, ip, identity, expiry }
    this.#held.add(held)
    meter.sessions('inbound', 1)
    void closed.then(() => {
      expiry.cancel()
      this.#held.delete(held)
      meter.sessions('inbound', -1)
    })
    // A workload of the node may have left during the handshake.
    if (this.#orphaned(held)) session.destroy()
    else if (this.#draining) session.retire()
  }

  #orphaned({ pod, ip, identity }: Held): boolean {
    if (!isNode(pod)) return false
    const { hosts, view } = this.#parts.pipeline
    return ![...identitiesAt(ip, hosts, view.current).values()].includes(identity.id)
  }

  async #presentation(handshake: Connection, ip: string): Promise<NodePresentation | Failure> {
    const { identities, pipeline } = this.#parts
    const { view, clock, hosts } = pipeline
    const { pod, signal } = handshake
    if (isNode(pod)) return presentNode(ip, hosts, view.current, identities, clock.nowMs())
    const workload = await view.workload(pod.uid, LIMITS.workloadWaitMs, signal)
    if (workload === undefined) return { reason: 'unknown-workload', detail: pod.uid }
    handshake.destinationWorkload = workload
    const identity = usable(identities, identityOf(workload), clock.nowMs())
    if ('reason' in identity) return identity
    return { presentation: { kind: 'one', identity }, refusal: () => undefined }
  }

  #request(
    { pod, source, destination }: Connection,
    local: Address,
    { peer, identity }: ServedSession,
    request: InboundRequest,
  ): void {
    const { pipeline } = this.#parts
    const connection = this.#begun(pod, { source, destination })
    connection.destinationIdentity = identity.id
    if (peer.kind === 'verified') {
      connection.sourceIdentity = peer.id
      connection.sourceWorkload = clientNamed(pipeline.view.current, peer.id, source.ip, pod.uid)
    }
    request.onGone(() => connection.stop('downstream-reset', 'before an answer'))
    const refuse = (reason: Reason): void => request.refuse(REASONS[reason].hbone)
    const serve = (): Ending | Promise<Ending> => {
      if (!this.#full()) {
        const tunnel = { local, peer, identity: identity.id }
        return serveInboundTunnel(connection, request, tunnel, pipeline)
      }
      const failure = overloaded()
      refuse(failure.reason)
      return { ...failure, sentBytes: 0, receivedBytes: 0 }
    }
    this.#run(connection, serve, () => refuse('internal'))
  }

  #connection(pod: LocalPod, { remote, local }: Accepted): Connection {
    const source = { ip: remote.address, port: remote.port }
    const destination = { ip: local.address, port: local.port }
    return this.#begun(pod, { source, destination })
  }

  #begun(pod: LocalPod, ends: Pick<Connection, 'source' | 'destination'>): Connection {
    const { clock } = this.#parts.pipeline
    return new Connection('inbound', 'tunnel', pod, ends, clock.nowMs(), clock.elapsedMs())
  }
}

function overloaded(): Failure {
  return { reason: 'overloaded', detail: 'this worker serves as many connections as it may' }
}
