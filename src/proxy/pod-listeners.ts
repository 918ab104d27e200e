// The listeners of the pods this worker serves: accepts, and hands each connection to its handler.
import type { Accepted, Acceptor, BpfMap, Kernel } from '../kernel/kernel.ts'
import { LIMITS } from '../model/limits.ts'
import type { ListenerClass, ListenerHandle, LocalPod } from '../model/messages.ts'

export type AcceptHandler = (pod: LocalPod, accepted: Accepted) => void

export interface PodListenersParts {
  readonly kernel: Pick<Kernel, 'accept'>
  readonly originStorage?: BpfMap
}

export class PodListeners {
  readonly #parts: PodListenersParts
  readonly #handlers: Readonly<Record<ListenerClass, AcceptHandler>>
  readonly #acceptors = new Map<string, Acceptor[]>()
  readonly #borrowed = new Set<Acceptor>()

  constructor(parts: PodListenersParts, handlers: Readonly<Record<ListenerClass, AcceptHandler>>) {
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
  }

  /** Accepts from listeners that are not this worker's, until told to stop. */
  borrow(pod: LocalPod, listeners: readonly ListenerHandle[]): () => void {
    const acceptors = listeners.map((listener) => this.#accept(pod, listener))
    for (const acceptor of acceptors) this.#borrowed.add(acceptor)
    return () => {
      for (const acceptor of acceptors) if (this.#borrowed.delete(acceptor)) acceptor.stop()
    }
  }

  stop(): void {
    for (const uid of [...this.#acceptors.keys()]) this.unlisten(uid)
    for (const acceptor of this.#borrowed) acceptor.stop()
    this.#borrowed.clear()
  }

  #accept(pod: LocalPod, { fd, class: listenerClass }: ListenerHandle): Acceptor {
    const handle = this.#handlers[listenerClass]
    const storage = this.#parts.originStorage
    const withStorage = listenerClass === 'outbound' && storage !== undefined ? { storage } : {}
    return this.#parts.kernel.accept(
      fd,
      { batchMax: LIMITS.acceptBatch, ...withStorage },
      (batch) => {
        for (const accepted of batch) handle(pod, accepted)
      },
    )
  }
}
