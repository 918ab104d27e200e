// The sessions of one local workload with one peer: who gets which, when another is dialled, and
// when one is let go.
import type { Clock } from '../../base/clock.ts'
import { err, type Result } from '../../base/result.ts'
import type { WorkloadIdentity } from '../../identity/present/identity-store.ts'
import { LIMITS } from '../../model/limits.ts'
import type { LocalPod } from '../../model/messages.ts'
import type { Reason } from '../../model/reason.ts'
import { stopOf } from '../stream/byte-stream.ts'
import type {
  OpenStream,
  TunnelFailure,
  TunnelPeer,
  TunnelRequest,
  TunnelSession,
  TunnelTransport,
} from './port.ts'

type Outcome = Result<OpenStream, TunnelFailure>

export interface PeerTarget {
  readonly from: LocalPod
  readonly peer: TunnelPeer
  readonly identityId: string
}

export interface PeerSessionsParts {
  readonly transport: TunnelTransport
  readonly clock: Clock
  readonly timeoutMs: () => number
  readonly onSessions: (by: number) => void
}

interface Held {
  readonly session: TunnelSession
  readonly serial: number
  readonly notAfterMs: number
  usedMs: number
}

/** A connection that wants a stream. */
interface Caller {
  readonly request: TunnelRequest
  readonly settle: (outcome: Outcome) => void
  /** Sessions that did not process its request: it is not sent there again. */
  readonly refusedBy: Held[]
}

interface Waiting {
  readonly caller: Caller
  /** Stops watching the caller's signal. */
  readonly leave: () => void
}

/** A session with this much waiting to be sent is not given more connections if it can be helped. */
const BUSY_BYTES = 4_194_304
/** Sessions opened only because the others are busy; more cost CPU and gain nothing. */
const SESSIONS_FOR_BYTES_MAX = 4
/** Sessions that refused or lost a request before it gives up. */
const SESSION_TRIES = 3
/** A session is retired this long before its certificate ends. */
const EXPIRY_MARGIN_MS = 60_000

const CLOSED_AT_ONCE: TunnelFailure = {
  reason: 'h2-failed',
  detail: 'the peer closed the session at once',
}

export class PeerSessions {
  readonly target: PeerTarget
  readonly #parts: PeerSessionsParts
  readonly #held: Held[] = []
  /** Take no more streams, but have some. */
  readonly #retired = new Set<TunnelSession>()
  readonly #waiters: Waiting[] = []
  readonly #gone = new AbortController()
  #dialing = 0

  constructor(parts: PeerSessionsParts, target: PeerTarget) {
    this.#parts = parts
    this.target = target
  }

  open(request: TunnelRequest): Promise<Outcome> {
    return new Promise((resolve) => {
      this.#place({ request, settle: resolve, refusedBy: [] })
    })
  }

  get dialing(): number {
    return this.#dialing
  }

  get sessionCount(): number {
    return this.#held.length + this.#retired.size
  }

  get streamCount(): number {
    let streams = 0
    for (const { session } of this.#held) streams += session.openStreams
    for (const session of this.#retired) streams += session.openStreams
    return streams
  }

  /** Nothing is held, waited for or being dialled. */
  get unused(): boolean {
    return this.sessionCount + this.#dialing + this.#waiters.length === 0
  }

  retireOlder(serial: number): void {
    for (const held of [...this.#held]) if (held.serial < serial) held.session.retire()
  }

  /** Lets go of idle sessions and of those whose certificate is about to end. */
  sweep(): void {
    const nowMs = this.#parts.clock.nowMs()
    for (const held of [...this.#held]) {
      if (held.session.openStreams > 0) held.usedMs = nowMs
      const idle = nowMs - held.usedMs >= LIMITS.sessionIdleMs
      if (idle || nowMs >= held.notAfterMs - EXPIRY_MARGIN_MS) held.session.retire()
    }
  }

  destroy(reason: Reason): void {
    this.#gone.abort({ reason })
    for (const { session } of [...this.#held]) session.destroy()
    for (const session of [...this.#retired]) session.destroy()
    this.#failWaiters({ reason, detail: 'the workload or the agent is going' })
  }

  #place(caller: Caller): void {
    const held = this.#choose(caller)
    if (held !== undefined) {
      this.#use(held, caller)
      return
    }
    const sessions = this.#held.length + this.#dialing
    const full = sessions >= LIMITS.sessionsPerPeerMax && this.#dialing === 0
    if (full || this.#waiters.length >= LIMITS.pendingPerSessionMax) {
      const detail = `${this.#held.length} sessions are full, ${this.#waiters.length} wait`
      caller.settle(err({ reason: 'overloaded', detail }))
      return
    }
    this.#wait(caller)
    // Each session being dialled will carry this many of those who wait.
    const wanted = Math.ceil(this.#waiters.length / LIMITS.streamsPerSessionMax)
    if (this.#dialing < wanted && sessions < LIMITS.sessionsPerPeerMax) {
      void this.#dial(caller.request.identity)
    }
  }

  #use(held: Held, caller: Caller): void {
    held.usedMs = this.#parts.clock.nowMs()
    const { authority, headers, signal } = caller.request
    void held.session.open(authority, headers, signal).then((outcome) => {
      const elsewhere = !outcome.ok && outcome.error.unprocessed === true
      if (elsewhere) caller.refusedBy.push(held)
      const again = elsewhere && caller.refusedBy.length < SESSION_TRIES
      if (again && !signal.aborted && !this.#gone.signal.aborted) this.#place(caller)
      else caller.settle(outcome)
    })
  }

  /** The session with a free stream and least to send; undefined when none has room. */
  #choose({ request: { identity }, refusedBy }: Caller): Held | undefined {
    let best: Held | undefined
    for (const held of this.#held) {
      const { session } = held
      if (session.closing || held.serial !== identity.serial) continue
      if (session.openStreams >= session.streamsMax || refusedBy.includes(held)) continue
      if (best === undefined || session.queuedBytes < best.session.queuedBytes) best = held
      if (session.queuedBytes === 0) break
    }
    if (best === undefined || best.session.queuedBytes < BUSY_BYTES) return best
    const more = this.#held.length + this.#dialing < SESSIONS_FOR_BYTES_MAX
    if (more && this.#dialing === 0) void this.#dial(identity)
    return best
  }

  #wait(caller: Caller): void {
    const { signal } = caller.request
    const cancel = (): void => {
      const at = this.#waiters.indexOf(waiting)
      if (at >= 0) this.#waiters.splice(at, 1)
      caller.settle(err({ reason: stopOf(signal).reason, detail: 'cancelled' }))
    }
    const leave = (): void => signal.removeEventListener('abort', cancel)
    const waiting: Waiting = { caller, leave }
    if (signal.aborted) {
      cancel()
      return
    }
    signal.addEventListener('abort', cancel)
    this.#waiters.push(waiting)
  }

  async #dial(identity: WorkloadIdentity): Promise<void> {
    this.#dialing++
    const { transport, timeoutMs } = this.#parts
    const { peer, from } = this.target
    const signal = this.#gone.signal
    const dialled = await transport.dial(peer, identity, from, timeoutMs(), signal)
    this.#dialing--
    if (!dialled.ok) {
      // Others may still come up; only the last failure is everybody's.
      if (this.#dialing === 0) this.#failWaiters(dialled.error)
      return
    }
    if (signal.aborted) dialled.value.destroy()
    else if (dialled.value.closing) this.#failWaiters(CLOSED_AT_ONCE)
    else this.#hold(dialled.value, identity)
  }

  #hold(session: TunnelSession, { serial, notAfterMs }: WorkloadIdentity): void {
    const held: Held = { session, serial, notAfterMs, usedMs: this.#parts.clock.nowMs() }
    this.#held.push(held)
    this.#parts.onSessions(1)
    session.onClosing(() => {
      const at = this.#held.indexOf(held)
      if (at >= 0) this.#held.splice(at, 1)
      this.#retired.add(session)
    })
    session.onClosed(() => {
      this.#retired.delete(session)
      this.#parts.onSessions(-1)
    })
    for (const { caller, leave } of this.#waiters.splice(0)) {
      leave()
      this.#place(caller)
    }
  }

  #failWaiters(failure: TunnelFailure): void {
    for (const { caller, leave } of this.#waiters.splice(0)) {
      leave()
      caller.settle(err(failure))
    }
  }
}
