// The node's own listeners, which serve every host-network workload, and the lookup of the node's
// namespace that finds them. Both are there only while somebody needs them.
import { existsSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { NODE_UID, type StreamClass } from '../../model/messages.ts'
import { LISTENER, LISTENER_CLASSES, LISTENER_KEY } from '../abi.ts'
import type { EnrolledPod, PodListener } from '../datapath.ts'
import type { Kernel, Namespace } from '../kernel.ts'
import { NODE_PINS } from './host-links.ts'
import { dropLink, linkAt } from './links.ts'
import { LISTENING } from './listeners.ts'
import { type Programs, pinsOf } from './load.ts'
import { revive, type Served, silence } from './served.ts'

const CLASSES: readonly StreamClass[] = ['outbound', 'plaintext', 'hbone']
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
      for (const kind of CLASSES) {
        for (const { every, loopback } of families()) {
          const spec = { ...LISTENING, address: loopback }
          const { fd } = await kernel.listen(spec, this.#namespace.fd)
          opened.push({ worker, class: kind, fd })
          const value = LISTENER.encode({ worker, class: LISTENER_CLASSES[kind] })
          programs.map('weft_listener').updateSocket(fd, value)
          programs.map('weft_listeners').updateFd(listenerKey(every, kind, worker), fd)
        }
      }
    } catch (error) {
      for (const { fd } of opened) kernel.closeFd(fd)
      throw error
    }
    return opened
  }

  #leave(served: Served): void {
    this.#hide(served.listeners)
    for (const { fd } of [...served.listeners, ...served.silenced]) this.#parts.kernel.closeFd(fd)
  }

  #hide(gone: readonly PodListener[]): void {
    const listeners = this.#parts.programs.map('weft_listeners')
    for (const { class: kind, worker } of gone) {
      for (const { every } of families()) {
        listeners.delete(listenerKey(every, kind as StreamClass, worker))
      }
    }
  }
}

/** The address that stands for all of its family, and where the listeners are really bound. */
function families(): { readonly every: string; readonly loopback: string }[] {
  const v4 = { every: '0.0.0.0', loopback: '127.0.0.1' }
  return existsSync(IPV6) ? [v4, { every: '::', loopback: '::1' }] : [v4]
}

function listenerKey(ip: string, kind: StreamClass, worker: number): Buffer {
  return LISTENER_KEY.encode({ ip, class: LISTENER_CLASSES[kind], worker })
}
