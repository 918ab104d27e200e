// The two ends of a fake TCP connection: bytes with back-pressure, half-close, end and reset as
// between two sockets of one machine.
import { Duplex } from 'node:stream'
import { kernelError } from '../errno.ts'

type Done = (error?: Error | null) => void

export class ByteStream extends Duplex {
  /** The next close sends RST. */
  lingerZero = false
  #peer: ByteStream | undefined
  /** The peer's write, held until this side wants to read again. */
  #held: Done | undefined

  constructor() {
    super({ allowHalfOpen: true })
    // A reset nobody has adopted the socket to see is not an uncaught exception.
    this.on('error', () => {})
  }

  static pair(): [ByteStream, ByteStream] {
    const [left, right] = [new ByteStream(), new ByteStream()]
    left.#peer = right
    right.#peer = left
    return [left, right]
  }

  /** Ends it from outside: this side sees ECONNABORTED, the other ECONNRESET. */
  abort(): void {
    this.lingerZero = true
    this.destroy(kernelError('read', 'ECONNABORTED'))
  }

  override _read(): void {
    const held = this.#held
    this.#held = undefined
    held?.()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    const peer = this.#peer
    if (peer === undefined || peer.destroyed) {
      done(kernelError('write', 'EPIPE'))
    } else if (chunk.length === 0) {
      done()
    } else if (peer.push(chunk)) {
      process.nextTick(done)
    } else {
      peer.#held = done
    }
  }

  override _final(done: Done): void {
    if (this.#peer !== undefined && !this.#peer.destroyed) this.#peer.push(null)
    done()
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#held?.(kernelError('write', 'EPIPE'))
    this.#held = undefined
    const peer = this.#peer
    if (peer !== undefined && !peer.destroyed) {
      if (this.lingerZero) peer.destroy(kernelError('read', 'ECONNRESET'))
      else if (!this.writableFinished) peer.push(null)
    }
    done(error)
  }
}
