// An HTTP/2 stream of `node:http2` as a ByteStream.
import { constants, type Http2Stream } from 'node:http2'
import { LIMITS } from '../../../model/limits.ts'
import type { ByteStream, StreamHandler, StreamOutcome } from '../../stream/byte-stream.ts'

/** What a stream tells its session: bytes that wait because the peer or the network is slow. */
export interface SessionLoad {
  queuedBytes: number
  /** The connection is lost: streams did not end, they broke. */
  lost: boolean
}

export class H2Stream implements ByteStream {
  readonly #stream: Http2Stream
  readonly #load: SessionLoad
  #handler: StreamHandler | undefined
  #stalledBytes = 0
  #aborted = false
  #ended = false
  #closed = false
  #failure: string | undefined

  /** `load` is shared by the streams of a session. */
  constructor(stream: Http2Stream, load: SessionLoad) {
    this.#stream = stream
    this.#load = load
    // A stream may break before anybody listens; `start` then reports it.
    stream.on('error', (error: NodeJS.ErrnoException) => {
      this.#failure ??= error.code ?? error.message
    })
    stream.once('close', () => this.#over())
  }

  start(handler: StreamHandler): void {
    this.#handler = handler
    if (this.#closed) {
      setImmediate(() => this.#report(handler))
      return
    }
    const stream = this.#stream
    stream.on('end', () => this.#end())
    stream.on('drain', () => {
      this.#unstall()
      handler.drain()
    })
    stream.on('data', (chunk: Buffer) => handler.data(chunk))
  }

  write(chunk: Buffer): boolean {
    const stream = this.#stream
    if (stream.destroyed || stream.closed) return true
    stream.write(chunk)
    if (stream.writableLength < LIMITS.relayQueueBytesMax) return true
    this.#load.queuedBytes += stream.writableLength - this.#stalledBytes
    this.#stalledBytes = stream.writableLength
    return false
  }

  end(): void {
    if (!this.#stream.destroyed && !this.#stream.closed) this.#stream.end()
  }

  pause(): void {
    this.#stream.pause()
  }

  resume(): void {
    this.#stream.resume()
  }

  abort(): void {
    if (this.#aborted || this.#closed) return
    this.#aborted = true
    // Not `close(code)`: it sends a clean END_STREAM before the reset. This way the reset is an
    // INTERNAL_ERROR, where RFC 9113 8.5 would have CONNECT_ERROR.
    this.#stream.destroy(new Error('aborted'))
  }

  get queuedBytes(): number {
    return this.#stream.writableLength
  }

  #end(): void {
    // An end that comes from a lost connection or a reset is none; `close` reports it.
    if (this.#ended || this.#broken() !== undefined) return
    this.#ended = true
    this.#handler?.end()
  }

  #over(): void {
    this.#closed = true
    this.#unstall()
    if (this.#handler !== undefined) this.#report(this.#handler)
  }

  #report(handler: StreamHandler): void {
    const outcome = this.#outcome()
    if (outcome.kind === 'finished') this.#end()
    handler.closed(outcome)
  }

  #outcome(): StreamOutcome {
    if (this.#aborted) return { kind: 'aborted' }
    const detail = this.#broken()
    return detail === undefined ? { kind: 'finished' } : { kind: 'reset', detail }
  }

  /** Source: ztunnel, which takes a reset with NO_ERROR or CANCEL as an end. */
  #broken(): string | undefined {
    const code = this.#stream.rstCode
    const clean = code === constants.NGHTTP2_NO_ERROR || code === constants.NGHTTP2_CANCEL
    const whole = this.#ended && this.#stream.writableFinished
    if (this.#load.lost && !whole) return this.#failure ?? 'SESSION_LOST'
    if (code === undefined || clean) return undefined
    return this.#failure ?? `H2_${code}`
  }

  #unstall(): void {
    this.#load.queuedBytes -= this.#stalledBytes
    this.#stalledBytes = 0
  }
}
