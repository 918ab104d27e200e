// The access log: one JSON line per connection, written behind the connection's back. What the
// disk cannot take in time is dropped and counted, never queued without bound.
import { type DestinationStream, pino } from 'pino'
import { MeshError } from '../base/mesh-error.ts'
import type { AccessEntry } from '../model/access-entry.ts'

export interface AccessLog {
  /** Exactly once per connection. */
  write(entry: AccessEntry): void
  /** Resolves when what was written so far has left the process. */
  flush(): Promise<void>
  close(): Promise<void>
  /** Lines dropped because the sink was too slow. */
  readonly dropped: number
}

/** Bytes collected before they are written, and the most that may wait. */
const BATCH_BYTES = 8_192
const QUEUE_BYTES_MAX = 16_777_216
/** Lines of a quiet worker appear after this long at most. */
const FLUSH_INTERVAL_MS = 500

/** `target`: a file path, 'stdout' or '-', 'stderr' or 'off'. */
export function openAccessLog(target: string): AccessLog {
  if (target === 'off') return NO_ACCESS_LOG
  const dest = target === 'stdout' || target === '-' ? 1 : target === 'stderr' ? 2 : target
  const sink = pino.destination({
    dest,
    sync: false,
    minLength: BATCH_BYTES,
    maxLength: QUEUE_BYTES_MAX,
    periodicFlush: FLUSH_INTERVAL_MS,
    append: true,
    mkdir: true,
  })
  return new PinoAccessLog(sink, typeof dest === 'string')
}

const NO_ACCESS_LOG: AccessLog = {
  write() {},
  flush: () => Promise.resolve(),
  close: () => Promise.resolve(),
  dropped: 0,
}

type Sink = ReturnType<typeof pino.destination>

class PinoAccessLog implements AccessLog {
  readonly #sink: Sink
  readonly #ownsSink: boolean
  readonly #logger
  #dropped = 0
  #closed = false

  constructor(sink: Sink, ownsSink: boolean) {
    this.#sink = sink
    this.#ownsSink = ownsSink
    sink.on('drop', () => {
      this.#dropped++
    })
    // A full disk must not end connections; the loss is counted.
    sink.on('error', () => {
      this.#dropped++
    })
    this.#logger = pino(
      {
        base: null,
        messageKey: 'event',
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
      },
      sink as DestinationStream,
    )
  }

  get dropped(): number {
    return this.#dropped
  }

  write(entry: AccessEntry): void {
    if (!this.#closed) this.#logger.info(entry, 'connection')
  }

  flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#sink.flush((error) => {
        // A pipe or terminal has taken the lines, but cannot be synchronised.
        const isUnsyncable = (error as NodeJS.ErrnoException | undefined)?.code === 'EINVAL'
        if (error === undefined || error === null || isUnsyncable) resolve()
        else
          reject(new MeshError('telemetry.access-log', 'flushing the access log', { cause: error }))
      })
    })
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.flush()
    if (!this.#ownsSink) return
    await new Promise<void>((resolve) => {
      this.#sink.once('close', resolve)
      this.#sink.end()
    })
  }
}
