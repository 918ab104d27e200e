// Unix sockets of the Kernel port over the addon.
import { checkFd, checkPath } from '../checks.ts'
import { attempt, attemptAsync, settled, toKernelError } from '../errno.ts'
import type { Kernel, UnixChannel, UnixMessage } from '../kernel.ts'
import type { Addon, RawChannel } from './addon.ts'

type UnixHalf = Pick<Kernel, 'unixListen' | 'unixConnect'>

export function nativeUnix(addon: Addon): UnixHalf {
  return {
    unixListen(path, type) {
      checkPath('bind', path)
      let handler: ((channel: UnixChannel) => void) | undefined
      // Connections that come before there is a handler wait for it.
      const early: UnixChannel[] = []
      const onConnection = (raw: RawChannel): void => {
        const channel = new NativeChannel(addon, raw)
        if (handler === undefined) early.push(channel)
        else handler(channel)
      }
      const id = attempt(() => addon.unixListen(path, type === 'stream', onConnection))
      return {
        onConnection(next) {
          handler = next
          for (const channel of early.splice(0)) next(channel)
        },
        close() {
          addon.unixListenClose(id)
          for (const channel of early.splice(0)) channel.close()
        },
      }
    },
    unixConnect: (path, type) =>
      attemptAsync(async () => {
        const raw = addon.unixConnect(checkPath('connect', path), type === 'stream')
        return new NativeChannel(addon, raw)
      }),
  }
}

class NativeChannel implements UnixChannel {
  readonly fd: number
  readonly #addon: Addon
  readonly #id: number

  constructor(addon: Addon, raw: RawChannel) {
    this.#addon = addon
    this.#id = raw.id
    this.fd = raw.fd
  }

  send(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    return settled((done) => {
      for (const fd of fds) checkFd('sendmsg SCM_RIGHTS', fd)
      this.#addon.unixSend(this.#id, bytes, fds, done)
    })
  }

  onMessage(handler: (message: UnixMessage) => void, onError?: (error: Error) => void): void {
    this.#addon.unixRead(this.#id, (first, fds) => {
      if (Buffer.isBuffer(first)) {
        for (const fd of fds) this.#addon.takeFd(fd)
        handler({ bytes: first, fds })
        return
      }
      const error = toKernelError(first) as Error
      if (onError !== undefined) {
        onError(error)
        return
      }
      process.emitWarning(error)
      handler({ bytes: Buffer.alloc(0), fds: [] })
    })
  }

  close(): void {
    this.#addon.unixClose(this.#id)
  }
}
