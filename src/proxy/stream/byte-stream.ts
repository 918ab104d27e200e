// The port for bytes that flow both ways: what a TCP socket and a tunnel stream have in common.
// Each direction ends by itself (half-close), and a reset is never mistaken for an end.
import type { Reason } from '../../model/reason.ts'

/** Receives what a stream has to say, always on the loop, never from inside a call to it. */
export interface StreamHandler {
  /** The receiver keeps the chunk; nobody else writes to it. */
  data(chunk: Buffer): void
  /** The peer will send no more; a clean end (FIN, END_STREAM). */
  end(): void
  /** `write` may be called again after it returned false. */
  drain(): void
  /** The last call, exactly one: both directions are over. */
  closed(outcome: StreamOutcome): void
}

/** `finished`: both directions ended cleanly; `reset`: by the peer or the network; `aborted`: here. */
export interface StreamOutcome {
  readonly kind: 'finished' | 'reset' | 'aborted'
  /** An errno or HTTP/2 error name. */
  readonly detail?: string
}

export interface ByteStream {
  /** Nothing is read before this, so that the peer's bytes wait in the kernel. Called once. */
  start(handler: StreamHandler): void
  /** False: the queue is full; hold back until `drain`. */
  write(chunk: Buffer): boolean
  /** Half-close: the peer sees the end after everything written. */
  end(): void
  pause(): void
  resume(): void
  /** Drops what is queued and tells the peer that the stream broke (RST, RST_STREAM). */
  abort(): void
  /** Bytes accepted by `write` and not yet handed on. */
  readonly queuedBytes: number
}

/** Why a connection is being ended from outside: the `reason` of an abort signal. */
export interface Stop {
  readonly reason: Reason
  readonly detail?: string
}

/** The stop an aborted signal carries; an abort without one is a shutdown. */
export function stopOf(signal: AbortSignal): Stop {
  const stop: unknown = signal.reason
  const known = typeof stop === 'object' && stop !== null && 'reason' in stop
  return known ? (stop as Stop) : { reason: 'draining' }
}
