// Answers questions in place of a resolver's proxy: each with what the kernel knows of it.
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { formatEndpoint } from '../../src/base/ip.ts'
import type { PodListener } from '../../src/kernel/datapath.ts'
import type { Kernel, Namespace } from '../../src/kernel/kernel.ts'
import type { WorkerViews } from '../../src/kernel/worker-views.ts'
import type { ListenerClass } from '../../src/model/messages.ts'

const SLOTS: Readonly<Partial<Record<ListenerClass, number>>> = { dns0: 0, dns1: 1, dns2: 2 }

export interface DnsAnswer {
  readonly question: string
  /** The resolver that was asked. */
  readonly asked: string
  /** Number of the asking workload. */
  readonly workload: number
  readonly slot: number
  readonly worker: number
  /** Who asked, as the datagram says. */
  readonly client: string
}

export function isDns(listener: PodListener): boolean {
  return listener.class in SLOTS
}

export class DnsDoor {
  readonly #kernel: Kernel
  readonly #views: WorkerViews
  readonly #sockets = new Map<number, Socket>()
  /** Datagrams that were not answered. */
  ignored = 0

  constructor(kernel: Kernel, views: WorkerViews) {
    this.#kernel = kernel
    this.#views = views
  }

  async serve(listener: PodListener, pod: Namespace, addresses: readonly string[]): Promise<void> {
    const socket = await this.#adopt(listener.fd)
    socket.on('message', (bytes, from) => {
      const answer = this.#answer(listener, pod, addresses, bytes, from)
      if (answer === undefined) this.ignored++
      else socket.send(JSON.stringify(answer), from.port, from.address)
    })
    this.#sockets.set(listener.fd, socket)
  }

  /** A socket that dgram adopts is closed with it, but the descriptor is the datapath's. */
  async #adopt(fd: number): Promise<Socket> {
    for (const type of ['udp4', 'udp6'] as const) {
      const socket = createSocket(type)
      await new Promise<void>((resolve) => {
        socket.bind({ fd: this.#kernel.duplicate(fd) }, resolve)
      })
      // What it is is known only now, and how it sends was said before.
      if (socket.address().family === { udp4: 'IPv4', udp6: 'IPv6' }[type]) return socket
      socket.close()
    }
    throw new Error(`descriptor ${fd} is of no family`)
  }

  letGo(listener: PodListener): void {
    this.#sockets.get(listener.fd)?.close()
    this.#sockets.delete(listener.fd)
  }

  #answer(
    listener: PodListener,
    pod: Namespace,
    addresses: readonly string[],
    bytes: Buffer,
    from: RemoteInfo,
  ): DnsAnswer | undefined {
    const slot = SLOTS[listener.class] ?? 0
    const own = addresses.includes(from.address)
    if (!own && from.address !== '::1' && !from.address.startsWith('127.')) return undefined
    const asked = this.#views.asked({
      netnsCookie: pod.cookie,
      clientPort: from.port,
      slot,
      v4: from.family === 'IPv4',
    })
    if (asked === undefined) return undefined
    return {
      question: String(bytes),
      asked: formatEndpoint(asked.ip, asked.port),
      workload: asked.workload,
      slot,
      worker: listener.worker,
      client: formatEndpoint(from.address, from.port),
    }
  }
}
