// A fake TCP socket: one side of an in-memory byte stream, or a listener.
import type { Duplex } from 'node:stream'
import { kernelError } from '../errno.ts'
import type { SocketAddress } from '../kernel.ts'
import { ByteStream } from './byte-stream.ts'
import type { FakeFile, FdTable } from './fds.ts'
import type { MapData } from './map-data.ts'

export interface SocketParts {
  readonly cookie: bigint
  /** Cookie of the namespace it was made in. */
  readonly namespace: bigint
  readonly local: SocketAddress
}

/** BPF_F_CLONE: storage that accepted sockets inherit from their listener. */
const BPF_F_CLONE = 1 << 9

export abstract class FakeSocket implements FakeFile {
  abstract readonly kind: 'socket' | 'listener' | 'udp'
  readonly cookie: bigint
  readonly namespace: bigint
  readonly local: SocketAddress
  readonly storage = new Map<MapData, Buffer>()
  readonly #releases: (() => void)[] = []

  constructor({ cookie, namespace, local }: SocketParts) {
    this.cookie = cookie
    this.namespace = namespace
    this.local = local
  }

  onRelease(task: () => void): void {
    this.#releases.push(task)
  }

  release(): void {
    for (const task of this.#releases.splice(0)) task()
  }

  inherit(listener: FakeSocket): void {
    for (const [map, value] of listener.storage) {
      if (((map.spec.flags ?? 0) & BPF_F_CLONE) !== 0) this.storage.set(map, Buffer.from(value))
    }
  }
}

export class FakeConnection extends FakeSocket {
  readonly kind = 'socket'
  readonly remote: SocketAddress
  readonly stream: ByteStream
  original: SocketAddress | undefined
  #adopted = false

  constructor(parts: SocketParts, remote: SocketAddress, stream: ByteStream) {
    super(parts)
    this.remote = remote
    this.stream = stream
  }

  /** The stream, now the caller's: as `new net.Socket({ fd })` takes a descriptor over. */
  adopt(): Duplex {
    this.#adopted = true
    return this.stream
  }

  override release(): void {
    super.release()
    if (!this.#adopted || !this.stream.destroyed) this.stream.destroy()
  }
}

export function connectPair(
  client: SocketParts,
  server: SocketParts,
): [FakeConnection, FakeConnection] {
  const [left, right] = ByteStream.pair()
  return [
    new FakeConnection(client, server.local, left),
    new FakeConnection(server, client.local, right),
  ]
}

export function asSocket(operation: string, fds: FdTable, fd: number): FakeSocket {
  const file = fds.get(operation, fd)
  if (!(file instanceof FakeSocket)) throw kernelError(operation, 'ENOTSOCK')
  return file
}

export function asConnection(operation: string, fds: FdTable, fd: number): FakeConnection {
  const file = asSocket(operation, fds, fd)
  if (!(file instanceof FakeConnection)) throw kernelError(operation, 'ENOTCONN')
  return file
}
