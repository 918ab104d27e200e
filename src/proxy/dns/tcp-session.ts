// DNS over TCP: answers what the mesh knows and relays the rest to the resolver that was asked, over
// one connection that is opened for the first such question. Answers come in any order.
// Source: RFC 7766.
import type { Clock, Timer } from '../../base/clock.ts'
import type { Result } from '../../base/result.ts'
import type { Ending } from '../../model/facts.ts'
import { LIMITS } from '../../model/limits.ts'
import type { Reason } from '../../model/reason.ts'
import type { DnsMeter } from '../../telemetry/dns-cells.ts'
import {
  type ByteStream,
  type StreamHandler,
  type StreamOutcome,
  stopOf,
} from '../stream/byte-stream.ts'
import type { Moved, Relayed } from '../stream/relay.ts'
import type { Decision } from './decide.ts'
import { FrameReader, frame } from './frames.ts'

export interface TcpSessionParts {
  readonly decide: (question: Buffer) => Decision
  readonly meter: DnsMeter
  readonly clock: Clock
  /** Opens the way to the resolver. */
  readonly connect: () => Promise<Result<ByteStream, { reason: Reason; detail: string }>>
  readonly signal: AbortSignal
  readonly seen: Relayed
}

/** Questions of one client in one turn of the loop, and about how much they are answered: others
 * wait as well, and an answer may be long and take its time. */
const QUESTIONS_PER_TURN = 16
const ANSWER_BYTES_PER_TURN = 8_192

/**
 * Resolves when both streams are closed; never rejects, unless `connect` does. Bytes are counted as
 * the client sent and got them. Reasons: completed, downstream-reset, upstream-reset, idle-timeout,
 * what `connect` fails with, or the stop's.
 */
export function serveNames(client: ByteStream, parts: TcpSessionParts): Promise<Ending> {
  return new Promise((resolve, reject) => {
    new TcpSession(client, parts, resolve, reject).start()
  })
}

class TcpSession implements Moved {
  readonly #client: ByteStream
  readonly #parts: TcpSessionParts
  readonly #resolve: (ending: Ending) => void
  readonly #reject: (error: unknown) => void
  readonly #reader = new FrameReader()
  /** Read, but not looked at: at most what one piece of the stream brings. */
  #unread: Buffer[] = []
  #next: NodeJS.Immediate | undefined
  #upstream: ByteStream | undefined
  /** For the resolver, while the way to it is being opened. */
  #queue: Buffer[] = []
  #connecting = false
  #clientOpen = true
  #upstreamOpen = false
  #clientEnded = false
  /** As `write` said. */
  #clientFull = false
  #upstreamFull = false
  /** Questions that the resolver has not answered. */
  #pending = 0
  sentBytes = 0
  receivedBytes = 0
  #reason: Reason = 'completed'
  #detail: string | undefined
  /** Both were told the end; what the client still asks is not answered. */
  #isEnding = false
  #timer: Timer | undefined

  constructor(
    client: ByteStream,
    parts: TcpSessionParts,
    resolve: (ending: Ending) => void,
    reject: (error: unknown) => void,
  ) {
    this.#client = client
    this.#parts = parts
    this.#resolve = resolve
    this.#reject = reject
  }

  start(): void {
    this.#parts.seen.moved = this
    this.#moved()
    this.#client.start(this.#fromClient())
    const { signal } = this.#parts
    if (signal.aborted) this.#stopped()
    else signal.addEventListener('abort', this.#stopped)
  }

  #fromClient(): StreamHandler {
    return {
      data: (chunk) => {
        this.sentBytes += chunk.length
        this.#unread.push(...this.#reader.read(chunk))
        this.#work()
      },
      end: () => {
        this.#clientEnded = true
        if (this.#unread.length === 0) this.#allRead()
      },
      drain: () => {
        this.#clientFull = false
        this.#upstream?.resume()
        this.#readOn()
      },
      closed: (outcome) => {
        this.#clientOpen = false
        this.#over('downstream-reset', outcome)
      },
    }
  }

  #fromUpstream(): StreamHandler {
    const reader = new FrameReader()
    return {
      data: (chunk) => {
        for (const message of reader.read(chunk)) {
          this.#pending = Math.max(0, this.#pending - 1)
          this.#toClient(message)
        }
        if (this.#clientFull) this.#upstream?.pause()
        this.#readOn()
      },
      end: () => this.#end(),
      drain: () => {
        this.#upstreamFull = false
        this.#readOn()
      },
      closed: (outcome) => {
        this.#upstreamOpen = false
        this.#over('upstream-reset', outcome)
      },
    }
  }

  /** Some of what was asked, for as long as the client and the resolver keep up. */
  #work(): void {
    if (this.#next !== undefined) return
    let left = QUESTIONS_PER_TURN
    const bytesMax = this.receivedBytes + ANSWER_BYTES_PER_TURN
    while (left-- > 0 && this.receivedBytes < bytesMax && this.#clientOpen && !this.#isFull) {
      const message = this.#unread.shift()
      if (message === undefined) break
      this.#question(message)
    }
    if (!this.#clientOpen) this.#unread = []
    if (this.#unread.length > 0 && !this.#isFull) {
      this.#next = setImmediate(() => {
        this.#next = undefined
        this.#work()
      })
    }
    if (this.#unread.length > 0 || this.#isFull) this.#client.pause()
    else if (this.#clientEnded) this.#allRead()
    else if (this.#clientOpen) this.#client.resume()
  }

  /** A resolver sees the end after the last question, and says by its own when all is answered. */
  #allRead(): void {
    if (this.#upstream !== undefined) this.#upstream.end()
    else if (!this.#connecting) this.#end()
  }

  #question(message: Buffer): void {
    if (this.#isEnding) return
    this.#moved()
    const decision = this.#parts.decide(message)
    if (decision.kind === 'answer') this.#toClient(decision.answer)
    if (decision.kind !== 'forward') return
    this.#parts.meter.count('relayed')
    this.#pending++
    if (this.#upstream === undefined) {
      this.#queue.push(frame(message))
      if (!this.#connecting) void this.#connect()
    } else if (!this.#upstream.write(frame(message))) this.#upstreamFull = true
  }

  #toClient(message: Buffer): void {
    if (!this.#clientOpen || this.#isEnding) return
    this.#moved()
    const bytes = frame(message)
    this.receivedBytes += bytes.length
    if (!this.#client.write(bytes)) this.#clientFull = true
  }

  get #isFull(): boolean {
    return this.#clientFull || this.#upstreamFull || this.#pending >= LIMITS.dnsTcpPendingMax
  }

  #readOn(): void {
    if (this.#clientOpen && !this.#isFull) this.#work()
  }

  async #connect(): Promise<void> {
    this.#connecting = true
    try {
      const connected = await this.#parts.connect()
      this.#connecting = false
      if (!connected.ok) this.#break(connected.error.reason, connected.error.detail)
      else this.#connected(connected.value)
      this.#settle()
    } catch (error) {
      this.#connecting = false
      this.#timer?.cancel()
      this.#reject(error)
    }
  }

  #connected(upstream: ByteStream): void {
    this.#upstream = upstream
    this.#upstreamOpen = true
    upstream.start(this.#fromUpstream())
    if (!this.#clientOpen || this.#reason !== 'completed') {
      upstream.abort()
      return
    }
    for (const message of this.#queue) upstream.write(message)
    this.#queue = []
    const allRead = this.#clientEnded && this.#unread.length === 0
    if (allRead || this.#isEnding) upstream.end()
  }

  #over(resetReason: Reason, outcome: StreamOutcome): void {
    if (outcome.kind === 'reset') this.#break(resetReason, outcome.detail)
    // A client that has gone gets no answers.
    else if (!this.#clientOpen && this.#upstreamOpen) this.#upstream?.abort()
    this.#settle()
  }

  #settle(): void {
    if (this.#clientOpen || this.#upstreamOpen || this.#connecting) return
    this.#timer?.cancel()
    this.#parts.signal.removeEventListener('abort', this.#stopped)
    this.#resolve({
      reason: this.#reason,
      ...(this.#detail === undefined ? {} : { detail: this.#detail }),
      sentBytes: this.sentBytes,
      receivedBytes: this.receivedBytes,
    })
  }

  /** The first cause is the one reported. */
  #break(reason: Reason, detail: string | undefined): void {
    if (this.#reason === 'completed') {
      this.#reason = reason
      this.#detail = detail
    }
    if (this.#clientOpen) this.#client.abort()
    if (this.#upstreamOpen) this.#upstream?.abort()
  }

  readonly #stopped = (): void => {
    const stop = stopOf(this.#parts.signal)
    this.#break(stop.reason, stop.detail)
  }

  /** A message came or went. */
  #moved(): void {
    this.#timer?.cancel()
    this.#arm()
  }

  /** An idle connection is ended, and broken if its ends do not follow. */
  #arm(): void {
    this.#timer = this.#parts.clock.after(LIMITS.dnsTcpIdleMs, () => {
      if (this.#isEnding) {
        this.#break('idle-timeout', undefined)
        return
      }
      this.#end()
      this.#arm()
    })
  }

  #end(): void {
    if (this.#isEnding) return
    this.#isEnding = true
    if (this.#clientOpen) this.#client.end()
    if (this.#upstreamOpen) this.#upstream?.end()
  }
}
