// A TCP socket as a ByteStream: adopts a descriptor from the kernel port. The socket object is made
// only when reading begins, so bytes of an unfinished decision stay in the kernel.
import { Socket } from 'node:net'
import type { Kernel } from '../../kernel/kernel.ts'
import { LIMITS } from '../../model/limits.ts'
import type { ByteStream, StreamHandler } from './byte-stream.ts'

/** The part of the kernel port a socket stream needs. */
export type SocketKernel = Pick<Kernel, 'setLingerZero' | 'clearLingerZero' | 'closeFd'>

/** Source: ztunnel, KEEPALIVE_TIME / INTERVAL / RETRIES. */
export const KEEP_ALIVE = { idleS: 180, intervalS: 180, probes: 9 } as const

/** Writes of at least this size are held until the loop has read everything it has, so that
 * adjacent pieces of one turn become one system call; smaller ones go at once. */
const CORK_BYTES_MIN = 8_192

/**
 * Read buffers belong to a worker: every socket reads into the same one, and each chunk is copied
 * out before the next read. Measured: a buffer per socket costs 64 KiB and gains nothing.
 */
export class SocketStreams {
  readonly #kernel: SocketKernel
  readonly #readBuffer = Buffer.allocUnsafeSlow(LIMITS.relayChunkBytes)
  #corked: Socket[] = []
  readonly #uncork = (): void => {
    const sockets = this.#corked
    this.#corked = []
    for (const socket of sockets) socket.uncork()
  }

  constructor(kernel: SocketKernel) {
    this.#kernel = kernel
  }

  /** The stream owns the descriptor from here on: end, abort or the peer closes it. */
  adopt(fd: number): ByteStream {
    return this.#stream(fd, false)
  }

  /**
   * The same for a socket whose listener has SO_LINGER 0, so that the client sees a reset if this
   * thread dies in the middle, and not an end. A clean end takes it back: one system call.
   */
  adoptAccepted(fd: number): ByteStream {
    return this.#stream(fd, true)
  }

  #stream(fd: number, lingerZero: boolean): ByteStream {
    const corkOnce = (socket: Socket): void => {
      socket.cork()
      if (this.#corked.push(socket) === 1) setImmediate(this.#uncork)
    }
    return new SocketStream({ fd, lingerZero }, this.#kernel, this.#readBuffer, corkOnce)
  }
}

class SocketStream implements ByteStream {
  readonly #fd: number
  /** A close by whomever is a reset, now. */
  #lingerZero: boolean
  readonly #kernel: SocketKernel
  readonly #readBuffer: Buffer
  readonly #corkOnce: (socket: Socket) => void
  #socket: Socket | undefined
  #handler: StreamHandler | undefined
  #failure: string | undefined
  #aborted = false
  #paused = false

  constructor(
    { fd, lingerZero }: { readonly fd: number; readonly lingerZero: boolean },
    kernel: SocketKernel,
    readBuffer: Buffer,
    corkOnce: (socket: Socket) => void,
  ) {
    this.#fd = fd
    this.#lingerZero = lingerZero
    this.#kernel = kernel
    this.#readBuffer = readBuffer
    this.#corkOnce = corkOnce
  }

  start(handler: StreamHandler): void {
    this.#handler = handler
    if (this.#aborted) {
      setImmediate(() => handler.closed({ kind: 'aborted' }))
      return
    }
    const socket = new Socket({
      fd: this.#fd,
      allowHalfOpen: true,
      highWaterMark: LIMITS.relayQueueBytesMax,
      onread: { buffer: this.#readBuffer, callback: (count) => this.#received(count) },
      // `onread` belongs to the options of connect() in the types; the constructor takes it too.
    } as ConstructorParameters<typeof Socket>[0])
    this.#socket = socket
    socket.on('end', () => handler.end())
    socket.on('drain', () => handler.drain())
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#failure ??= error.code ?? error.message
    })
    socket.once('close', () => this.#closed())
    if (this.#lingerZero) this.#clearAtEnd(socket)
    if (!this.#paused) socket.resume()
  }

  write(chunk: Buffer): boolean {
    const socket = this.#socket
    if (socket === undefined || socket.destroyed) return true
    if (chunk.length >= CORK_BYTES_MIN && socket.writableCorked === 0) this.#corkOnce(socket)
    return socket.write(chunk)
  }

  end(): void {
    this.#socket?.end()
  }

  pause(): void {
    this.#paused = true
    this.#socket?.pause()
  }

  resume(): void {
    this.#paused = false
    this.#socket?.resume()
  }

  abort(): void {
    if (this.#aborted) return
    this.#aborted = true
    const socket = this.#socket
    if (socket?.destroyed) return
    if (!this.#lingerZero) this.#kernel.setLingerZero(this.#fd)
    // Not `resetAndDestroy`: it fails while a shutdown is queued behind unsent bytes.
    if (socket === undefined) this.#kernel.closeFd(this.#fd)
    else socket.destroy()
  }

  get queuedBytes(): number {
    return this.#socket?.writableLength ?? 0
  }

  /** Both directions have ended, and the kernel has everything: before the socket closes itself. */
  #clearAtEnd(socket: Socket): void {
    let ended = 0
    const onEnd = (): void => {
      if (++ended < 2) return
      this.#lingerZero = false
      this.#kernel.clearLingerZero(this.#fd)
    }
    socket.once('end', onEnd).once('finish', onEnd)
  }

  #received(count: number): boolean {
    const chunk = Buffer.allocUnsafe(count)
    this.#readBuffer.copy(chunk, 0, 0, count)
    this.#handler?.data(chunk)
    return !this.#paused
  }

  #closed(): void {
    const handler = this.#handler
    if (this.#aborted) handler?.closed({ kind: 'aborted' })
    else if (this.#failure === undefined) handler?.closed({ kind: 'finished' })
    else handler?.closed({ kind: 'reset', detail: this.#failure })
  }
}
