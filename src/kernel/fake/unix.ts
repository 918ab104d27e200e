// Unix sockets of the fake kernel: a bound path is an empty real file, messages stay whole, and
// descriptors travel as duplicates.
import { closeSync, existsSync, openSync } from 'node:fs'
import { checkPath } from '../checks.ts'
import { attempt, kernelError, toKernelError } from '../errno.ts'
import type { Kernel, UnixChannel, UnixListener, UnixMessage } from '../kernel.ts'
import type { FakeFile, FdTable } from './fds.ts'

type UnixHalf = Pick<Kernel, 'unixListen' | 'unixConnect'>
type SocketType = 'seqpacket' | 'stream'

/** SCM_MAX_FD. */
const FDS_MAX = 253
/** net.core.wmem_default less the kernel's own needs: what one message of SOCK_SEQPACKET can be. */
const MESSAGE_MAX = 212_992 - 32

interface Bound {
  readonly type: SocketType
  readonly connected: (channel: FakeChannel) => void
}

export function fakeUnix(fds: FdTable): UnixHalf {
  const bound = new Map<string, Bound>()
  return {
    unixListen(path, type) {
      checkPath('bind', path)
      try {
        closeSync(openSync(path, 'wx'))
      } catch (error) {
        const converted = toKernelError(error)
        const exists = converted instanceof Error && converted.message.includes('EEXIST')
        throw exists ? kernelError(`bind ${path}`, 'EADDRINUSE') : converted
      }
      return listen(bound, path, type)
    },
    async unixConnect(path, type) {
      checkPath('connect', path)
      const listener = bound.get(path)
      if (listener === undefined) {
        throw kernelError(`connect ${path}`, existsSync(path) ? 'ECONNREFUSED' : 'ENOENT')
      }
      if (listener.type !== type) throw kernelError(`connect ${path}`, 'EPROTOTYPE')
      const [client, server] = [new FakeChannel(fds, type), new FakeChannel(fds, type)]
      client.join(server)
      server.join(client)
      setImmediate(() => listener.connected(server))
      return client
    },
  }
}

function listen(bound: Map<string, Bound>, path: string, type: SocketType): UnixListener {
  let handler: ((channel: UnixChannel) => void) | undefined
  const early: FakeChannel[] = []
  const entry: Bound = {
    type,
    connected(channel) {
      if (bound.get(path) !== entry) channel.close()
      else if (handler === undefined) early.push(channel)
      else handler(channel)
    },
  }
  bound.set(path, entry)
  return {
    onConnection(next) {
      handler = next
      for (const channel of early.splice(0)) next(channel)
    },
    close() {
      if (bound.get(path) === entry) bound.delete(path)
      for (const channel of early.splice(0)) channel.close()
    },
  }
}

class FakeChannel implements UnixChannel, FakeFile {
  readonly kind = 'unix'
  readonly fd: number
  readonly #fds: FdTable
  readonly #type: SocketType
  readonly #waiting: UnixMessage[] = []
  #peer: FakeChannel | undefined
  #handler: ((message: UnixMessage) => void) | undefined
  #closed = false
  #ended = false

  constructor(fds: FdTable, type: SocketType) {
    this.#fds = fds
    this.#type = type
    this.fd = fds.open(this)
  }

  join(peer: FakeChannel): void {
    this.#peer = peer
  }

  async send(bytes: Uint8Array, sent: readonly number[] = []): Promise<void> {
    if (this.#closed) throw kernelError('sendmsg', 'EBADF')
    if (sent.length > FDS_MAX) throw kernelError('sendmsg SCM_RIGHTS', 'EINVAL')
    for (const fd of sent) this.#fds.get('sendmsg SCM_RIGHTS', fd)
    if (this.#peer === undefined || this.#peer.#closed) throw kernelError('sendmsg', 'EPIPE')
    if (this.#type === 'seqpacket' && bytes.length > MESSAGE_MAX) {
      throw kernelError('sendmsg', 'EMSGSIZE')
    }
    const fds = sent.map((fd) => this.#fds.duplicate(fd))
    this.#peer.#receive({ bytes: Buffer.from(bytes), fds })
  }

  onMessage(handler: (message: UnixMessage) => void): void {
    this.#handler = handler
    setImmediate(() => this.#deliver())
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const { fds } of this.#waiting.splice(0)) for (const fd of fds) this.#fds.close(fd)
    attempt(() => this.#fds.close(this.fd))
    if (this.#peer !== undefined) this.#peer.#receive({ bytes: Buffer.alloc(0), fds: [] })
  }

  release(): void {}

  #receive(message: UnixMessage): void {
    this.#waiting.push(message)
    setImmediate(() => this.#deliver())
  }

  #deliver(): void {
    while (this.#handler !== undefined && !this.#closed && !this.#ended) {
      const message = this.#waiting.shift()
      if (message === undefined) return
      this.#ended = message.bytes.length === 0 && message.fds.length === 0
      this.#handler(message)
    }
  }
}
