// The seam for bytes between agents: what a tunnel implementation offers and what it asks for. The
// pool and the pipeline know only this file, so that `node:http2` can give way to our own codec.
import type { Result } from '../../base/result.ts'
import type { Presentation } from '../../identity/present/accept-client.ts'
import type { WorkloadIdentity } from '../../identity/present/identity-store.ts'
import type { PeerIdentity } from '../../model/facts.ts'
import type { LocalPod } from '../../model/messages.ts'
import type { Reason } from '../../model/reason.ts'
import type { ByteStream } from '../stream/byte-stream.ts'

export interface TunnelPeer {
  readonly address: string
  readonly port: number
  /** The peer must prove one of these; none: it can never succeed. */
  readonly expectedIdentities: readonly string[]
  /** Asks for one identity of several at the address; absent: no SNI. */
  readonly serverName?: string
}

export interface TunnelRequest {
  readonly from: LocalPod
  readonly identity: WorkloadIdentity
  readonly peer: TunnelPeer
  /** `ip:port` of the destination workload. */
  readonly authority: string
  readonly headers: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

/** Why no stream came to be. No byte of the connection was sent. */
export interface TunnelFailure {
  readonly reason: Reason
  readonly detail: string
  /** The CONNECT response, if there was one. */
  readonly status?: number
  /** The session never processed the request (GOAWAY, REFUSED_STREAM): another session may. */
  readonly unprocessed?: boolean
}

export interface OpenStream {
  readonly stream: ByteStream
  /** Of the CONNECT response. */
  readonly headers: Readonly<Record<string, string>>
}

/** Opens streams through whatever sessions it keeps; `TunnelPool` is the one in use. */
export interface Tunnels {
  open(request: TunnelRequest): Promise<Result<OpenStream, TunnelFailure>>
}

/** One client session: one TLS connection, many streams. */
export interface TunnelSession {
  /** What the peer allows at once; it may change. */
  readonly streamsMax: number
  readonly openStreams: number
  /** Bytes waiting to be sent, over all streams. */
  readonly queuedBytes: number
  /** No new stream may be opened: retired, told to go away, or dead. */
  readonly closing: boolean
  open(
    authority: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Result<OpenStream, TunnelFailure>>
  /** GOAWAY now; closes when the last stream has. */
  retire(): void
  /** Ends at once; open streams are reset. */
  destroy(): void
  /** Called once, when `closing` becomes true. */
  onClosing(handler: () => void): void
  /** Called once, when the connection is gone. */
  onClosed(handler: () => void): void
}

/** One CONNECT request of a peer. Exactly one of `accept` and `refuse` is called. */
export interface InboundRequest {
  readonly method: string
  /** '' when absent. */
  readonly authority: string
  readonly headers: Readonly<Record<string, string>>
  accept(headers: Readonly<Record<string, string>>): ByteStream
  refuse(status: number): void
  /** Called when the client gives up before an answer. */
  onGone(handler: () => void): void
}

/** One session a peer opened with us. */
export interface ServedSession {
  readonly peer: PeerIdentity
  /** Whom the peer was shown. */
  readonly identity: WorkloadIdentity
  readonly openStreams: number
  /** GOAWAY now; closes when the last stream has. */
  retire(): void
  destroy(): void
}

export interface ServeSpec {
  /** Owned by the session from here on. */
  readonly fd: number
  readonly presentation: Presentation<WorkloadIdentity>
  /** Ends the handshake; a session that is up is ended by `destroy`. */
  readonly signal: AbortSignal
  readonly onRequest: (session: ServedSession, request: InboundRequest) => void
}

/** Resolves when the session is up; `closed` when it is gone. Never rejects. */
export interface ServeOutcome {
  readonly session: ServedSession
  readonly closed: Promise<void>
}

/** One implementation of tunnels over adopted descriptors. */
export interface TunnelTransport {
  /** Reasons: connect-failed, tls-failed, identity-mismatch, h2-failed, or the signal's. */
  dial(
    peer: TunnelPeer,
    identity: WorkloadIdentity,
    from: LocalPod,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Result<TunnelSession, TunnelFailure>>
  /** Reasons: tls-failed, identity-invalid, h2-failed. */
  serve(spec: ServeSpec): Promise<Result<ServeOutcome, TunnelFailure>>
}
