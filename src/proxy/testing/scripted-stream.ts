// A ByteStream in memory whose peer is a script: tests say when it speaks, reads, ends or breaks.
import type { ByteStream, StreamHandler, StreamOutcome } from '../stream/byte-stream.ts'

export class ScriptedStream implements ByteStream {
  /** What the peer has read so far. */
  readonly read: Buffer[] = []
  /** What was written and the peer has not read. */
  readonly queue: Buffer[] = []
  queuedBytes = 0
  queuedBytesPeak = 0
  paused = false
  /** The peer has seen our end. */
  sawEnd = false
  aborted = false
  readonly #queueMax: number
  #handler: StreamHandler | undefined
  #blocked = false
  #endWritten = false
  #peerEnded = false
  #over = false

  constructor(queueMax: number) {
    this.#queueMax = queueMax
  }

  start(handler: StreamHandler): void {
    this.#handler = handler
  }

  write(chunk: Buffer): boolean {
    if (this.#over) return true
    this.queue.push(chunk)
    this.queuedBytes += chunk.length
    this.queuedBytesPeak = Math.max(this.queuedBytesPeak, this.queuedBytes)
    this.#blocked = this.queuedBytes >= this.#queueMax
    return !this.#blocked
  }

  end(): void {
    this.#endWritten = true
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
  }

  abort(): void {
    this.aborted = true
    this.#close({ kind: 'aborted' })
  }

  /** The peer sends; not while we do not read, as the kernel would hold it. */
  peerSends(chunk: Buffer): void {
    if (this.paused || this.#peerEnded || this.#over) throw new Error('the peer cannot send now')
    this.#handler?.data(chunk)
  }

  peerEnds(): void {
    if (this.#over) return
    this.#peerEnded = true
    this.#handler?.end()
    this.#settle()
  }

  peerBreaks(detail = 'ECONNRESET'): void {
    this.#close({ kind: 'reset', detail })
  }

  /** The peer reads one chunk, or notices our end. */
  peerReads(): void {
    if (this.#over) return
    const chunk = this.queue.shift()
    if (chunk !== undefined) {
      this.queuedBytes -= chunk.length
      this.read.push(chunk)
      if (this.#blocked && this.queuedBytes === 0) {
        this.#blocked = false
        this.#handler?.drain()
      }
    } else if (this.#endWritten) {
      this.sawEnd = true
      this.#settle()
    }
  }

  get over(): boolean {
    return this.#over
  }

  #settle(): void {
    if (this.#peerEnded && this.sawEnd) this.#close({ kind: 'finished' })
  }

  #close(outcome: StreamOutcome): void {
    if (this.#over) return
    this.#over = true
    this.#handler?.closed(outcome)
  }
}
