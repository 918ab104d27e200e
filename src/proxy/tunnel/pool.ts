// Keeps tunnel sessions so that a connection costs a stream, not a handshake. Sessions belong to
// one workload of this node and are never shared with another. Source: ztunnel `proxy/pool.rs`.
import type { Clock, Timer } from '../../base/clock.ts'
import { err, type Result } from '../../base/result.ts'
import type { Reason } from '../../model/reason.ts'
import { PeerSessions } from './peer-sessions.ts'
import type { OpenStream, TunnelFailure, TunnelRequest, Tunnels, TunnelTransport } from './port.ts'

export interface TunnelPoolParts {
  readonly transport: TunnelTransport
  readonly clock: Clock
  /** Told how many sessions came up (1) or went (-1). */
  readonly onSessions?: (by: number) => void
}

export interface TunnelPoolOptions {
  readonly connectTimeoutMs: () => number
}

export interface TunnelPoolStats {
  readonly peers: number
  readonly sessions: number
  readonly streams: number
  readonly dialing: number
}

/** How often idle and ageing sessions are looked for. */
const SWEEP_INTERVAL_MS = 15_000

export class TunnelPool implements Tunnels {
  readonly #parts: TunnelPoolParts
  readonly #options: TunnelPoolOptions
  readonly #peers = new Map<string, PeerSessions>()
  #sweep: Timer | undefined
  #closed: Reason | undefined

  constructor(parts: TunnelPoolParts, options: TunnelPoolOptions) {
    this.#parts = parts
    this.#options = options
  }

  /** Reasons: those of the transport, overloaded, draining, workload-removed, or the signal's. */
  open(request: TunnelRequest): Promise<Result<OpenStream, TunnelFailure>> {
    if (this.#closed !== undefined) {
      return Promise.resolve(err({ reason: this.#closed, detail: 'the tunnel pool is closed' }))
    }
    const key = keyOf(request)
    let peer = this.#peers.get(key)
    if (peer === undefined) {
      peer = new PeerSessions(
        {
          transport: this.#parts.transport,
          clock: this.#parts.clock,
          onSessions: this.#parts.onSessions ?? (() => {}),
          timeoutMs: this.#options.connectTimeoutMs,
        },
        { from: request.from, peer: request.peer, identityId: request.identity.id },
      )
      this.#peers.set(key, peer)
      this.#sweep ??= this.#parts.clock.after(SWEEP_INTERVAL_MS, this.#sweepAll)
    }
    return peer.open(request)
  }

  /** Sessions made with an older certificate of this identity take no new streams. */
  identityReplaced(id: string, serial: number): void {
    for (const peer of this.#peers.values()) {
      if (peer.target.identityId === id) peer.retireOlder(serial)
    }
  }

  /** What this identity trusted is no longer trusted: its sessions end now, whatever they carry. */
  closeIdentity(id: string, reason: Reason): void {
    for (const [key, peer] of this.#peers) {
      if (peer.target.identityId !== id) continue
      peer.destroy(reason)
      this.#peers.delete(key)
    }
  }

  /** The workload left: its sessions end now, whatever they carry. */
  closeWorkload(uid: string, reason: Reason): void {
    for (const [key, peer] of this.#peers) {
      if (peer.target.from.uid !== uid) continue
      peer.destroy(reason)
      this.#peers.delete(key)
    }
  }

  /** GOAWAY everywhere; open streams go on, new ones are refused. */
  retireAll(reason: Reason): void {
    this.#closed = reason
    for (const peer of this.#peers.values()) peer.retireOlder(Number.POSITIVE_INFINITY)
  }

  stop(reason: Reason): void {
    this.#closed = reason
    this.#sweep?.cancel()
    for (const peer of this.#peers.values()) peer.destroy(reason)
    this.#peers.clear()
  }

  stats(): TunnelPoolStats {
    let sessions = 0
    let streams = 0
    let dialing = 0
    for (const peer of this.#peers.values()) {
      sessions += peer.sessionCount
      streams += peer.streamCount
      dialing += peer.dialing
    }
    return { peers: this.#peers.size, sessions, streams, dialing }
  }

  readonly #sweepAll = (): void => {
    for (const [key, peer] of this.#peers) {
      peer.sweep()
      if (peer.unused) this.#peers.delete(key)
    }
    this.#sweep =
      this.#peers.size === 0
        ? undefined
        : this.#parts.clock.after(SWEEP_INTERVAL_MS, this.#sweepAll)
  }
}

/** The local workload first: no two workloads ever meet in one session, even of one identity. */
function keyOf({ from, identity, peer }: TunnelRequest): string {
  const expected = peer.expectedIdentities
  const names = expected.length > 1 ? [...expected].sort().join(',') : (expected[0] ?? '')
  const source = from.addresses.join(',')
  const server = `${peer.address} ${peer.port} ${peer.serverName ?? ''}`
  return `${from.uid} ${source} ${identity.id} ${names} ${server}`
}
