// The client's end of a tunnel session over `node:http2`: CONNECT requests become streams.
import { type ClientHttp2Session, type ClientHttp2Stream, constants } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../../../base/clock.ts'
import { errorText } from '../../../base/mesh-error.ts'
import { err, ok, type Result } from '../../../base/result.ts'
import { LIMITS } from '../../../model/limits.ts'
import { stopOf } from '../../stream/byte-stream.ts'
import type { OpenStream, TunnelFailure, TunnelSession } from '../port.ts'
import { H2Stream, type SessionLoad } from './h2-stream.ts'
import { keepAlive } from './keepalive.ts'
import { plainHeaders } from './plain-headers.ts'

/** A peer waits for its tables and connects to the workload before it answers. */
const ANSWER_TIMEOUT_MS = 2 * LIMITS.handshakeTimeoutMs

const GOING = 'the session takes no more streams'

export class ClientSession implements TunnelSession {
  readonly #session: ClientHttp2Session
  readonly #clock: Clock
  readonly #load: SessionLoad = { queuedBytes: 0, lost: false }
  readonly #onClosing: (() => void)[] = []
  readonly #onClosed: (() => void)[] = []
  #openStreams = 0
  #closing = false

  constructor(session: ClientHttp2Session, socket: TLSSocket, clock: Clock) {
    this.#session = session
    this.#clock = clock
    // Before http2's own listener, which ends the streams as if they had been cancelled.
    socket.prependListener('close', () => {
      this.#load.lost = true
    })
    session.on('error', () => this.#beginClosing())
    session.once('goaway', () => this.#beginClosing())
    session.once('close', () => {
      this.#load.lost = true
      this.#beginClosing()
      for (const handler of this.#onClosed) handler()
    })
    keepAlive(session, clock, () => this.destroy())
  }

  get streamsMax(): number {
    const announced = this.#session.remoteSettings?.maxConcurrentStreams
    return Math.min(announced ?? LIMITS.streamsPerSessionMax, LIMITS.streamsPerSessionMax)
  }

  get openStreams(): number {
    return this.#openStreams
  }

  get queuedBytes(): number {
    return this.#load.queuedBytes
  }

  get closing(): boolean {
    return this.#closing || this.#session.closed || this.#session.destroyed
  }

  open(
    authority: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Result<OpenStream, TunnelFailure>> {
    if (signal.aborted) return Promise.resolve(err({ ...stopOf(signal), detail: 'cancelled' }))
    if (this.closing) {
      return Promise.resolve(err({ reason: 'h2-failed', detail: GOING, unprocessed: true }))
    }
    let stream: ClientHttp2Stream
    try {
      stream = this.#session.request(
        { ...headers, ':method': 'CONNECT', ':authority': authority },
        { endStream: false },
      )
    } catch (error) {
      const detail = errorText(error)
      return Promise.resolve(err({ reason: 'h2-failed', detail, unprocessed: true }))
    }
    this.#openStreams++
    stream.once('close', () => {
      this.#openStreams--
    })
    return this.#answer(stream, signal)
  }

  retire(): void {
    this.#beginClosing()
    if (!this.#session.closed) this.#session.close()
  }

  destroy(): void {
    this.#load.lost = true
    this.#beginClosing()
    this.#session.destroy()
  }

  onClosing(handler: () => void): void {
    this.#onClosing.push(handler)
  }

  onClosed(handler: () => void): void {
    this.#onClosed.push(handler)
  }

  #beginClosing(): void {
    if (this.#closing) return
    this.#closing = true
    for (const handler of this.#onClosing) handler()
  }

  #answer(
    stream: ClientHttp2Stream,
    signal: AbortSignal,
  ): Promise<Result<OpenStream, TunnelFailure>> {
    const opened = new H2Stream(stream, this.#load)
    return new Promise((resolve) => {
      const cancel = (): void => {
        stream.close(constants.NGHTTP2_CANCEL)
        settle(err({ reason: stopOf(signal).reason, detail: 'cancelled' }))
      }
      const settle = (result: Result<OpenStream, TunnelFailure>): void => {
        timer.cancel()
        signal.removeEventListener('abort', cancel)
        stream.removeListener('close', lost)
        resolve(result)
      }
      const timer = this.#clock.after(ANSWER_TIMEOUT_MS, () => {
        stream.close(constants.NGHTTP2_CANCEL)
        const detail = `the peer did not answer CONNECT within ${ANSWER_TIMEOUT_MS} ms`
        settle(err({ reason: 'connect-failed', detail }))
      })
      const lost = (): void => settle(err(this.#unanswered(stream)))
      signal.addEventListener('abort', cancel)
      stream.once('close', lost)
      stream.once('response', (head) => {
        const status = Number(head[':status'])
        if (status === 200) {
          settle(ok({ stream: opened, headers: plainHeaders(head) }))
          return
        }
        stream.resume()
        stream.end()
        settle(err(refusal(status)))
      })
    })
  }

  #unanswered(stream: ClientHttp2Stream): TunnelFailure {
    const refused = stream.rstCode === constants.NGHTTP2_REFUSED_STREAM
    // A stream without a number was never sent.
    const lost = this.#load.lost || this.#session.destroyed || stream.id === undefined
    return {
      reason: 'h2-failed',
      detail: lost
        ? 'the session was lost before an answer'
        : `the stream was reset, code ${stream.rstCode}`,
      unprocessed: refused || lost,
    }
  }
}

/** Source: ztunnel, where 401 is RBAC and 503 an unreachable workload. */
function refusal(status: number): TunnelFailure {
  const detail = `the peer answered CONNECT with ${status}`
  return {
    reason: status === 401 || status === 403 ? 'peer-denied' : 'peer-refused',
    detail,
    status,
  }
}
