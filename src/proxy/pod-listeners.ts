// The listeners of the pods this worker serves: accepts, and hands each connection to its handler.
import type { Accepted, Acceptor, BpfMap, Kernel } from '../kernel/kernel.ts'
import { LIMITS } from '../model/limits.ts'
import type {
  DnsClass,
  ListenerClass,
  ListenerHandle,
  LocalPod,
  StreamClass,
} from '../model/messages.ts'

import { isNode } from './host-workloads.ts'

type Stoppable = Pick<Acceptor, 'stop'>

export type AcceptHandler = (pod: LocalPod, accepted: Accepted) => void

export interface PodListenersParts {
  readonly kernel: Pick<Kernel, 'accept' | 'setLingerZero'>
  readonly originStorage?: BpfMap
  /** Without it nobody answers questions for names. */
  readonly dns?: DnsDoor
}

/** Answers what arrives at a pod's UDP sockets. */
export interface DnsDoor {
  /** `fd` stays main's. The function it returns ends the serving. */
  serve(pod: LocalPod, slot: 0 | 1 | 2, fd: number): () => void
}

const DNS_SLOTS: Readonly<Record<DnsClass, 0 | 1 | 2>> = { dns0: 0, dns1: 1, dns2: 2 }

export class PodListeners {
  readonly #parts: PodListenersParts
  readonly #handlers: Readonly<Record<StreamClass, AcceptHandler>>
  readonly #acceptors = new Map<string, Stoppable[]>()
  /** By uid, like the own ones: a pod that leaves has no connections from anywhere. */
  readonly #borrowed = new Map<Stoppable, string>()

  constructor(parts: PodListenersParts, handlers: Readonly<Record<StreamClass, AcceptHandler>>) {
    this.#parts = parts
    this.#handlers = handlers
  }

  listen(pod: LocalPod, listeners: readonly ListenerHandle[]): void {
    const held = this.#acceptors.get(pod.uid) ?? []
    this.#acceptors.set(pod.uid, held)
    for (const listener of listeners) held.push(this.#accept(pod, listener))
  }

  /** The descriptors stay with main, which made them. */
  unlisten(uid: string): void {
    for (const acceptor of this.#acceptors.get(uid) ?? []) acceptor.stop()
    this.#acceptors.delete(uid)
    for (const [acceptor, of] of this.#borrowed) if (of === uid) this.#release(acceptor)
  }

  /** Accepts from listeners that are not this worker's, until told to stop. */
  borrow(pod: LocalPod, listeners: readonly ListenerHandle[]): () => void {
    const acceptors = listeners.map((listener) => this.#accept(pod, listener))
    for (const acceptor of acceptors) this.#borrowed.set(acceptor, pod.uid)
    return () => {
      for (const acceptor of acceptors) this.#release(acceptor)
    }
  }

  stop(): void {
    for (const uid of [...this.#acceptors.keys()]) this.unlisten(uid)
    for (const acceptor of [...this.#borrowed.keys()]) this.#release(acceptor)
  }

  #release(acceptor: Stoppable): void {
    if (this.#borrowed.delete(acceptor)) acceptor.stop()
  }

  #accept(pod: LocalPod, { fd, class: listenerClass }: ListenerHandle): Stoppable {
    if (isDns(listenerClass)) {
      const stop = this.#parts.dns?.serve(pod, DNS_SLOTS[listenerClass], fd)
      return { stop: stop ?? (() => {}) }
    }
    const handle = this.#handlers[listenerClass]
    // If this thread dies, a program must not take the end of its socket for that of its data. In a
    // tunnel the peer's agent knows the difference.
    if (listenerClass !== 'hbone') this.#parts.kernel.setLingerZero(fd)
    const storage = this.#parts.originStorage
    // At the node's listeners plaintext too must say whom it is for.
    const stored = listenerClass === 'outbound' || (listenerClass === 'plaintext' && isNode(pod))
    const withStorage = stored && storage !== undefined ? { storage } : {}
    return this.#parts.kernel.accept(
      fd,
      { batchMax: LIMITS.acceptBatch, onError: acceptFailed, ...withStorage },
      (batch) => {
        for (const accepted of batch) handle(pod, accepted)
      },
    )
  }
}

function isDns(listenerClass: ListenerClass): listenerClass is DnsClass {
  return listenerClass in DNS_SLOTS
}

const EXHAUSTED: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM'])

/** Exhaustion passes by itself. Anything else ends the listener, which the kernel would go on
 * choosing: the worker ends with it, and its replacement gets new ones. */
function acceptFailed(error: Error): void {
  if (EXHAUSTED.has((error as Error & { errnoName?: string }).errnoName ?? '')) {
    process.emitWarning(error)
    return
  }
  setImmediate(() => {
    throw error
  })
}
