// The UDP sockets of this worker in pods: takes what programs of the pod ask, and answers from the
// same socket, so that the kernel can show the answer as coming from the resolver that was asked.
import type { Socket } from 'node:dgram'
import type { Kernel } from '../../kernel/kernel.ts'
import { LIMITS } from '../../model/limits.ts'
import type { LocalPod } from '../../model/messages.ts'
import type { Address } from '../connection.ts'
import { isLoopback } from '../host-workloads.ts'
import type { DnsDoor } from '../pod-listeners.ts'
import { type DeskParts, NameDesk } from './desk.ts'
import { udpSocket } from './udp-socket.ts'

/** The resolver behind a question; undefined when nobody knows. */
export type Asked = (question: {
  readonly netnsCookie: bigint
  readonly clientPort: number
  readonly slot: number
  readonly v4: boolean
}) => (Address & { readonly workload: number }) | undefined

export interface UdpDoorParts extends DeskParts {
  readonly kernel: Pick<Kernel, 'bindUdp' | 'closeFd' | 'duplicate'>
  readonly asked: Asked
}

interface Held {
  readonly desk: NameDesk
  sockets: number
}

export class UdpDoor implements DnsDoor {
  readonly #parts: UdpDoorParts
  /** By uid; what a workload was told goes with its last socket. */
  readonly #desks = new Map<string, Held>()
  readonly #open = new Set<Socket>()

  constructor(parts: UdpDoorParts) {
    this.#parts = parts
  }

  serve(pod: LocalPod, slot: 0 | 1 | 2, fd: number): () => void {
    const desk = this.#hold(pod)
    const { socket, v4 } = openSocket(this.#parts.kernel, fd)
    const asked = (clientPort: number) => (): Address | undefined => {
      const { netnsCookie, number } = pod
      const resolver = this.#parts.asked({ netnsCookie, clientPort, slot, v4 })
      return resolver?.workload === number ? resolver : undefined
    }
    // Errors of single datagrams; those who wait for an answer ask again.
    socket.on('error', () => this.#parts.meter.count('unsent'))
    socket.on('message', (question, { address, port }) => {
      if (!isOwn(pod, address)) {
        this.#parts.meter.count('foreign')
        return
      }
      desk.ask(question, asked(port), (answer) =>
        this.#reply(socket, answer, { ip: address, port }),
      )
    })
    this.#open.add(socket)
    return () => {
      if (!this.#open.delete(socket)) return
      socket.close()
      this.#release(pod.uid)
    }
  }

  #reply(socket: Socket, answer: Buffer, to: Address): void {
    // It may have been closed while a resolver was asked.
    if (!this.#open.has(socket) || socket.getSendQueueSize() > LIMITS.dnsSendBytesMax) {
      this.#parts.meter.count('unsent')
      return
    }
    socket.send(answer, to.port, to.ip, (error) => {
      if (error !== null) this.#parts.meter.count('unsent')
    })
  }

  #hold(pod: LocalPod): NameDesk {
    const held = this.#desks.get(pod.uid) ?? { desk: new NameDesk(this.#parts, pod), sockets: 0 }
    held.sockets++
    this.#desks.set(pod.uid, held)
    return held.desk
  }

  #release(uid: string): void {
    const held = this.#desks.get(uid)
    if (held === undefined || --held.sockets > 0) return
    this.#desks.delete(uid)
    held.desk.stop()
  }
}

/** Programs of other pods have no business here, whatever way they found. */
export function isOwn(pod: LocalPod, source: string): boolean {
  return isLoopback(source) || pod.addresses.includes(source)
}

/** The type of a socket cannot be asked of a descriptor, only of a socket that has it. */
function openSocket(
  kernel: Pick<Kernel, 'duplicate'>,
  fd: number,
): { readonly socket: Socket; readonly v4: boolean } {
  const adopt = (type: 'udp4' | 'udp6'): Socket => {
    const socket = udpSocket(type)
    socket.bind({ fd: kernel.duplicate(fd), exclusive: true })
    return socket
  }
  const socket = adopt('udp4')
  if (socket.address().family === 'IPv4') return { socket, v4: true }
  socket.close()
  return { socket: adopt('udp6'), v4: false }
}
