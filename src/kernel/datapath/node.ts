// The node's own listeners, which serve every host-network workload, and the lookup of the node's
// namespace that finds them. Both are there only while somebody needs them.
import { existsSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { NODE_UID } from '../../model/messages.ts'
import type { EnrolledPod, PodListener } from '../datapath.ts'
import type { Kernel, Namespace } from '../kernel.ts'
import { NODE_PINS } from './host-links.ts'
import { dropLink, linkAt } from './links.ts'
import { closeListeners, listenerKey, openStreams, type StreamPlace } from './listeners.ts'
import { type Programs, pinsOf } from './load.ts'
import { revive, type Served, silence } from './served.ts'

const LOOKUP = 'weft_lookup_host'
/** Absent where the kernel has no IPv6. */
const IPV6 = '/proc/net/if_inet6'

interface NodeParts {
  readonly kernel: Kernel
  readonly programs: Programs
}

export class NodeDoor {
  readonly #parts: NodeParts
  readonly #directory: string
  readonly #namespace: Namespace
  #served: Served | undefined

  /** `namespace` is the agent's own; the caller closes it. */
  constructor(parts: NodeParts, options: { readonly pins: string; readonly namespace: Namespace }) {
    this.#parts = parts
    this.#directory = join(pinsOf(options.pins).hosts, NODE_PINS)
    this.#namespace = options.namespace
  }

  get node(): EnrolledPod | undefined {
    if (this.#served === undefined) return undefined
    const listeners = [...this.#served.listeners]
    return { uid: NODE_UID, cookie: this.#namespace.cookie, number: 0, listeners }
  }

  async open(workers: number): Promise<void> {
    if (this.#served !== undefined) return
    const served: Served = { uid: NODE_UID, listeners: [], silenced: [] }
    try {
      for (let worker = 0; worker < workers; worker++) {
        served.listeners.push(...(await this.#openWorker(worker)))
      }
      await this.attachLookup()
    } catch (error) {
      this.#leave(served)
      throw error
    }
    this.#served = served
  }

  /** Also without listeners: what is for a workload is refused then. */
  async attachLookup(): Promise<void> {
    const { kernel, programs } = this.#parts
    const program = programs.program('lookup', LOOKUP)
    await linkAt(kernel, join(this.#directory, LOOKUP), program, {
      matches: (info) => info.netnsInode === this.#namespace.inode,
      attach: () => program.attachNetns(this.#namespace.fd),
    })
  }

  /** Nothing of it stays, nor of an agent before this one. */
  close(): void {
    dropLink(this.#parts.kernel, join(this.#directory, LOOKUP))
    if (existsSync(this.#directory)) rmdirSync(this.#directory)
    if (this.#served !== undefined) this.#leave(this.#served)
    this.#served = undefined
  }

  /** Only the sockets, which end with the agent anyway. */
  closeListeners(): void {
    if (this.#served !== undefined) this.#leave(this.#served)
    this.#served = undefined
  }

  silence(worker: number): void {
    if (this.#served === undefined) return
    silence(this.#parts.kernel, this.#served, worker, (gone) => this.#hide(gone))
  }

  async revive(worker: number): Promise<{ uid: string; listeners: readonly PodListener[] }[]> {
    if (this.#served === undefined) return []
    return revive(this.#parts.kernel, this.#served, worker, () => this.#openWorker(worker))
  }

  async #openWorker(worker: number): Promise<PodListener[]> {
    const { kernel, programs } = this.#parts
    const opened: PodListener[] = []
    try {
      const maps = {
        listeners: programs.map('weft_listeners'),
        listener: programs.map('weft_listener'),
      }
      const owner = { namespace: this.#namespace, workload: 0 }
      await openStreams(kernel, maps, owner, places(), worker, opened)
    } catch (error) {
      closeListeners(kernel, opened)
      throw error
    }
    return opened
  }

  #leave(served: Served): void {
    this.#hide(served.listeners)
    closeListeners(this.#parts.kernel, [...served.listeners, ...served.silenced])
  }

  #hide(gone: readonly PodListener[]): void {
    const listeners = this.#parts.programs.map('weft_listeners')
    for (const { class: kind, worker } of gone) {
      for (const { ip } of places()) listeners.delete(listenerKey(ip, kind, worker))
    }
  }
}

/** The addresses that stand for all of their families. */
function places(): readonly StreamPlace[] {
  const v4: StreamPlace = { ip: '0.0.0.0', family: 4 }
  return existsSync(IPV6) ? [v4, { ip: '::', family: 6 }] : [v4]
}
