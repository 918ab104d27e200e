// A stream handler that keeps what it is told, for tests.
import type { ByteStream, StreamHandler, StreamOutcome } from '../stream/byte-stream.ts'
import { until } from './conditions.ts'

export class Collector implements StreamHandler {
  readonly stream: ByteStream
  readonly chunks: Buffer[] = []
  bytes = 0
  ended = false
  drains = 0
  outcome: StreamOutcome | undefined

  constructor(stream: ByteStream) {
    this.stream = stream
    stream.start(this)
  }

  data(chunk: Buffer): void {
    this.chunks.push(chunk)
    this.bytes += chunk.length
  }

  end(): void {
    this.ended = true
  }

  drain(): void {
    this.drains++
  }

  closed(outcome: StreamOutcome): void {
    this.outcome = outcome
  }

  get body(): Buffer {
    return Buffer.concat(this.chunks)
  }

  /** Writes all of it, waiting whenever told to. */
  async send(body: Buffer, chunkBytes = 65_536): Promise<void> {
    for (let at = 0; at < body.length; at += chunkBytes) {
      const drains = this.drains
      if (this.stream.write(Buffer.from(body.subarray(at, at + chunkBytes)))) continue
      await until('drain', () => this.drains > drains || this.outcome !== undefined)
    }
  }

  async whole(): Promise<Buffer> {
    await until('the end of a stream', () => this.ended || this.outcome !== undefined)
    return this.body
  }

  async over(): Promise<StreamOutcome> {
    await until('a stream to close', () => this.outcome !== undefined)
    return this.outcome ?? { kind: 'aborted' }
  }
}

/** Bytes that differ from place to place, so that a swap or a gap is seen. */
export function pattern(length: number, seed = 1): Buffer {
  const body = Buffer.allocUnsafe(length)
  let state = seed >>> 0
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    body[at] = state >>> 24
  }
  return body
}
