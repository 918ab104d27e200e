// The server's end of a tunnel session over `node:http2`: streams become CONNECT requests.
import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../../../base/clock.ts'
import type { WorkloadIdentity } from '../../../identity/present/identity-store.ts'
import type { PeerIdentity } from '../../../model/facts.ts'
import { LIMITS } from '../../../model/limits.ts'
import type { ByteStream } from '../../stream/byte-stream.ts'
import type { InboundRequest, ServedSession } from '../port.ts'
import { H2Stream, type SessionLoad } from './h2-stream.ts'
import { keepAlive } from './keepalive.ts'
import { plainHeaders } from './plain-headers.ts'
import { SERVER_OPTIONS } from './settings.ts'

/** The largest stream id: "no new streams, all sent so far will be served" (RFC 9113 6.8). */
const STREAM_ID_MAX = 2 ** 31 - 1

/** How long a refused client may leave its half of the stream open. */
const REFUSAL_LINGER_MS = 1_000

/** A socket after its handshake, and who is at either end. */
export interface SecuredSocket {
  readonly socket: TLSSocket
  readonly peer: PeerIdentity
  readonly identity: WorkloadIdentity
}

export class ServerSession implements ServedSession {
  readonly peer: PeerIdentity
  readonly identity: WorkloadIdentity
  readonly closed: Promise<void>
  readonly #session: ServerHttp2Session
  readonly #load: SessionLoad = { queuedBytes: 0, lost: false }
  #openStreams = 0
  #retired = false

  constructor(
    { socket, peer, identity }: SecuredSocket,
    clock: Clock,
    onRequest: (session: ServedSession, request: InboundRequest) => void,
  ) {
    this.peer = peer
    this.identity = identity
    // Before http2's own listener, which ends the streams as if they had been cancelled.
    socket.prependListener('close', () => {
      this.#load.lost = true
    })
    const session = performServerHandshake(socket, SERVER_OPTIONS)
    // http2 waits for this event, which only a `tls.Server` emits; the handshake is done.
    socket.emit('secureConnect')
    this.#session = session
    session.setLocalWindowSize(LIMITS.sessionWindowBytes)
    // Errors of one peer's making end its session, whose streams then report a reset.
    session.on('error', () => {})
    session.on('stream', (stream, headers) => {
      this.#openStreams++
      stream.once('close', () => {
        this.#openStreams--
      })
      onRequest(this, new Request(stream, headers, this.#load))
    })
    this.closed = new Promise((resolve) => {
      session.once('close', () => {
        this.#load.lost = true
        resolve()
      })
    })
    keepAlive(session, clock, () => this.destroy())
  }

  get openStreams(): number {
    return this.#openStreams
  }

  /** Two GOAWAYs: requests that crossed the first on their way are still served. */
  retire(): void {
    if (this.#retired || this.#session.closed) return
    this.#retired = true
    this.#session.goaway(constants.NGHTTP2_NO_ERROR, STREAM_ID_MAX)
    const close = (): void => {
      if (!this.#session.closed && !this.#session.destroyed) this.#session.close()
    }
    if (!this.#session.ping(close)) close()
  }

  destroy(): void {
    this.#load.lost = true
    this.#session.destroy()
  }
}

class Request implements InboundRequest {
  readonly method: string
  readonly authority: string
  readonly headers: Readonly<Record<string, string>>
  readonly #stream: ServerHttp2Stream
  readonly #load: SessionLoad
  #gone: (() => void) | undefined

  constructor(stream: ServerHttp2Stream, head: IncomingHttpHeaders, load: SessionLoad) {
    this.method = head[':method'] ?? ''
    this.authority = head[':authority'] ?? ''
    this.headers = plainHeaders(head)
    this.#stream = stream
    this.#load = load
    stream.on('error', () => {})
    stream.once('close', () => this.#gone?.())
  }

  onGone(handler: () => void): void {
    this.#gone = handler
  }

  accept(headers: Readonly<Record<string, string>>): ByteStream {
    this.#gone = undefined
    const opened = new H2Stream(this.#stream, this.#load)
    if (!this.#stream.destroyed) {
      this.#stream.respond({ ...headers, ':status': 200 }, { sendDate: false } as object)
    }
    return opened
  }

  refuse(status: number): void {
    this.#gone = undefined
    if (this.#stream.destroyed) return
    this.#stream.respond({ ':status': status }, { endStream: true, sendDate: false } as object)
    // Closing at once would send the reset in place of the answer. Most clients end their half on
    // seeing it; for the others the stream is freed a moment later.
    this.#stream.resume()
    this.#stream.setTimeout(REFUSAL_LINGER_MS, () => this.#stream.close())
  }
}
