// Tunnel sessions that peers opened with workloads of this node: authenticates each, and makes a
// connection of every CONNECT request in it.
import type { Timer } from '../../base/clock.ts'
import type { IdentityStore, WorkloadIdentity } from '../../identity/present/identity-store.ts'
import type { Accepted } from '../../kernel/kernel.ts'
import type { Ending } from '../../model/facts.ts'
import { LIMITS } from '../../model/limits.ts'
import type { LocalPod } from '../../model/messages.ts'
import { REASONS, type Reason } from '../../model/reason.ts'
import { parseSpiffeId } from '../../model/spiffe-id.ts'
import type { ProxyMeter } from '../../telemetry/proxy-cells.ts'
import { Connection } from '../connection.ts'
import { identityOf } from '../identity-of.ts'
import { type PipelineParts, serveInboundTunnel } from '../pipeline.ts'
import { stopOf } from '../stream/byte-stream.ts'
import type { InboundRequest, ServedSession, TunnelTransport } from '../tunnel/port.ts'

export interface InboundSessionsParts {
  readonly transport: TunnelTransport
  readonly identities: Pick<IdentityStore, 'get'>
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
  readonly uid: string
  readonly identity: WorkloadIdentity
  readonly expiry: Timer
}

interface Failure {
  readonly reason: Reason
  readonly detail: string
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

  closeWorkload(uid: string, reason: Reason): void {
    for (const handshake of this.#handshakes) if (handshake.pod.uid === uid) handshake.stop(reason)
    for (const held of [...this.#held]) if (held.uid === uid) held.session.destroy()
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
    const { transport, pipeline, meter } = this.#parts
    const ready = this.#full() ? overloaded() : await this.#identity(handshake)
    if ('reason' in ready) {
      pipeline.streams.adopt(accepted.fd).abort()
      return ready
    }
    const local = { ip: accepted.local.address, port: accepted.local.port }
    const served = await transport.serve({
      fd: accepted.fd,
      identity: ready,
      signal,
      onRequest: (session, request) => this.#request(pod, handshake, local, session, request),
    })
    if (signal.aborted) {
      if (served.ok) served.value.session.destroy()
      const stop = stopOf(signal)
      return { reason: stop.reason, detail: stop.detail ?? 'during the handshake' }
    }
    if (!served.ok) return served.error
    const { session, closed } = served.value
    const leftMs = ready.notAfterMs - EXPIRY_MARGIN_MS - pipeline.clock.nowMs()
    const expiry = pipeline.clock.after(leftMs, () => session.retire())
    const held: Held = { session, uid: pod.uid, identity: ready, expiry }
    this.#held.add(held)
    meter.sessions('inbound', 1)
    void closed.then(() => {
      expiry.cancel()
      this.#held.delete(held)
      meter.sessions('inbound', -1)
    })
    if (this.#draining) session.retire()
    return undefined
  }

  async #identity(handshake: Connection): Promise<WorkloadIdentity | Failure> {
    const { view, clock } = this.#parts.pipeline
    const { pod, signal } = handshake
    const workload = await view.workload(pod.uid, LIMITS.workloadWaitMs, signal)
    if (workload === undefined) return { reason: 'unknown-workload', detail: pod.uid }
    handshake.destinationWorkload = workload
    const id = identityOf(workload)
    const identity = this.#parts.identities.get(id)
    if (identity !== undefined && identity.notAfterMs > clock.nowMs()) return identity
    const state = identity === undefined ? 'not issued yet' : 'expired'
    return { reason: 'identity-unavailable', detail: `${id}: ${state}` }
  }

  #request(
    pod: LocalPod,
    { source, destination }: Connection,
    local: Connection['destination'],
    session: ServedSession,
    request: InboundRequest,
  ): void {
    const { pipeline } = this.#parts
    const connection = this.#begun(pod, { source, destination })
    if (session.peer.kind === 'verified') {
      connection.sourceIdentity = session.peer.id
      connection.sourceWorkload = this.#namedBy(session.peer.id, source.ip)
    }
    request.onGone(() => connection.stop('downstream-reset', 'before an answer'))
    const refuse = (reason: Reason): void => request.refuse(REASONS[reason].hbone)
    const serve = (): Ending | Promise<Ending> => {
      if (!this.#full()) {
        return serveInboundTunnel(connection, request, local, session.peer, pipeline)
      }
      const failure = overloaded()
      refuse(failure.reason)
      return { ...failure, sentBytes: 0, receivedBytes: 0 }
    }
    this.#run(connection, serve, () => refuse('internal'))
  }

  /** The workload at the peer's address, if its identity is the one that was proven. */
  #namedBy(id: string, ip: string): Connection['sourceWorkload'] {
    const tables = this.#parts.pipeline.view.current
    const uid = tables?.workloadByIp.get(ip)
    const workload = uid === undefined ? undefined : tables?.workloads.get(uid)
    if (workload !== undefined && identityOf(workload) === id) return workload
    const parts = parseSpiffeId(id)
    return parts === undefined ? undefined : { namespace: parts.namespace }
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
