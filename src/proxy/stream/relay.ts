// Moves bytes between a client's stream and a server's until both are done: half-close, pressure
// and resets pass from each to the other, and what is queued has a limit.
import type { Clock, Timer } from '../../base/clock.ts'
import type { Ending } from '../../model/facts.ts'
import type { Reason } from '../../model/reason.ts'
import { type ByteStream, type StreamHandler, type StreamOutcome, stopOf } from './byte-stream.ts'

export interface RelayLimits {
  /** A connection on which no byte moved for this long ends; 0: never. */
  readonly idleTimeoutMs: number
}

/** How far a relay has come. */
export interface Moved {
  /** From client to server. */
  readonly sentBytes: number
  readonly receivedBytes: number
}

/** Where a relay can be looked up while it runs. */
export interface Relayed {
  moved: Moved | undefined
}

/**
 * Starts both streams and resolves when both are closed; never rejects. `sentBytes` went from
 * `client` to `server`. `signal` ends it early with the reason of its `Stop`. Reasons: completed,
 * downstream-reset, upstream-reset, idle-timeout, or the stop's. `seen` gets the relay's progress.
 */
export function relay(
  client: ByteStream,
  server: ByteStream,
  limits: RelayLimits,
  clock: Clock,
  signal?: AbortSignal,
  seen?: Relayed,
): Promise<Ending> {
  return new Promise((resolve) => {
    const started = new Relay(client, server, limits, clock, signal, resolve)
    if (seen !== undefined) seen.moved = started
    started.start()
  })
}

class Relay implements Moved {
  readonly #client: Side
  readonly #server: Side
  readonly #limits: RelayLimits
  readonly #clock: Clock
  readonly #signal: AbortSignal | undefined
  readonly #resolve: (ending: Ending) => void
  #reason: Reason = 'completed'
  #detail: string | undefined
  #activeMs = 0
  #timer: Timer | undefined
  #open = 2

  constructor(
    client: ByteStream,
    server: ByteStream,
    limits: RelayLimits,
    clock: Clock,
    signal: AbortSignal | undefined,
    resolve: (ending: Ending) => void,
  ) {
    this.#client = new Side(this, client, 'downstream-reset')
    this.#server = new Side(this, server, 'upstream-reset')
    this.#client.peer = this.#server
    this.#server.peer = this.#client
    this.#limits = limits
    this.#clock = clock
    this.#signal = signal
    this.#resolve = resolve
  }

  get sentBytes(): number {
    return this.#client.receivedBytes
  }

  get receivedBytes(): number {
    return this.#server.receivedBytes
  }

  start(): void {
    this.#client.stream.start(this.#client)
    this.#server.stream.start(this.#server)
    this.#activeMs = this.#clock.nowMs()
    if (this.#limits.idleTimeoutMs > 0) this.#arm(this.#limits.idleTimeoutMs)
    if (this.#signal === undefined) return
    if (this.#signal.aborted) this.#stopped()
    else this.#signal.addEventListener('abort', this.#stopped)
  }

  moved(): void {
    this.#activeMs = this.#clock.nowMs()
  }

  /** One side is over. What broke one side breaks the other; a clean end was passed on already. */
  over(side: Side, outcome: StreamOutcome): void {
    if (outcome.kind === 'reset') this.#break(side.resetReason, outcome.detail)
    this.#open--
    if (this.#open > 0) return
    this.#timer?.cancel()
    this.#signal?.removeEventListener('abort', this.#stopped)
    this.#resolve({
      reason: this.#reason,
      ...(this.#detail === undefined ? {} : { detail: this.#detail }),
      sentBytes: this.sentBytes,
      receivedBytes: this.receivedBytes,
    })
  }

  broken(side: Side): void {
    this.#break(side.resetReason, 'EPIPE')
  }

  /** The first cause is the one reported. */
  #break(reason: Reason, detail: string | undefined): void {
    if (this.#reason === 'completed') {
      this.#reason = reason
      this.#detail = detail
    }
    this.#client.abort()
    this.#server.abort()
  }

  readonly #stopped = (): void => {
    if (this.#signal === undefined) return
    const stop = stopOf(this.#signal)
    this.#break(stop.reason, stop.detail)
  }

  #arm(delayMs: number): void {
    this.#timer = this.#clock.after(delayMs, () => {
      const leftMs = this.#activeMs + this.#limits.idleTimeoutMs - this.#clock.nowMs()
      if (leftMs > 0) this.#arm(leftMs)
      else this.#break('idle-timeout', undefined)
    })
  }
}

/** One of the two streams: passes what it hears to the other. */
class Side implements StreamHandler {
  readonly stream: ByteStream
  readonly resetReason: Reason
  /** Set right after construction, before anything can happen. */
  peer: Side | undefined
  receivedBytes = 0
  readonly #relay: Relay
  #closed = false

  constructor(relay: Relay, stream: ByteStream, resetReason: Reason) {
    this.#relay = relay
    this.stream = stream
    this.resetReason = resetReason
  }

  data(chunk: Buffer): void {
    this.receivedBytes += chunk.length
    this.#relay.moved()
    if (this.peer?.write(chunk) === false) this.stream.pause()
  }

  end(): void {
    this.#relay.moved()
    this.peer?.stream.end()
  }

  drain(): void {
    this.#relay.moved()
    this.peer?.resume()
  }

  resume(): void {
    if (!this.#closed) this.stream.resume()
  }

  /** Bytes for a side that is over cannot arrive, and their sender must learn it, as over TCP. */
  write(chunk: Buffer): boolean {
    if (!this.#closed) return this.stream.write(chunk)
    this.#relay.broken(this)
    return false
  }

  closed(outcome: StreamOutcome): void {
    this.#closed = true
    this.#relay.over(this, outcome)
  }

  abort(): void {
    if (!this.#closed) this.stream.abort()
  }
}
