// The workloads that share this node's network: by the kernel's number, by port, by address. Their
// connections meet the node's listeners, and are each given to the one they belong to.
import type { Clock } from '../base/clock.ts'
import { LIMITS } from '../model/limits.ts'
import { type LocalPod, NODE_UID } from '../model/messages.ts'
import type { Workload } from '../model/workload.ts'
import { Waitlist } from './waitlist.ts'

/**
 * The kernel's number of the host-network workload that serves this port of the node; undefined when
 * none does.
 */
export type PortOwner = (ip: string, port: number) => number | undefined

/** Whether somebody listens at this port of the node, and nobody but root does. */
export type HeldByRoot = (ip: string, port: number) => boolean

export class HostWorkloads {
  readonly #portOwner: PortOwner
  readonly #portListener: PortOwner
  readonly #heldByRoot: HeldByRoot
  readonly #byNumber = new Map<number, LocalPod>()
  readonly #waiting: Waitlist<LocalPod>

  constructor(
    portOwner: PortOwner,
    clock: Clock,
    portListener: PortOwner = portOwner,
    heldByRoot: HeldByRoot = () => false,
  ) {
    this.#portOwner = portOwner
    this.#portListener = portListener
    this.#heldByRoot = heldByRoot
    this.#waiting = new Waitlist(clock)
  }

  /** Again for the same one: what was known of it is replaced. */
  add(pod: LocalPod): void {
    if (!pod.hostNetwork || pod.uid === NODE_UID) return
    this.remove(pod.uid)
    this.#byNumber.set(pod.number, pod)
    this.#waiting.look()
  }

  remove(uid: string): void {
    for (const [number, pod] of this.#byNumber) if (pod.uid === uid) this.#byNumber.delete(number)
  }

  /** Known at once almost always; right after enrolment main may say so a moment later. 0 is nobody. */
  numbered(
    number: number,
    signal: AbortSignal,
  ): LocalPod | undefined | Promise<LocalPod | undefined> {
    if (number === 0) return undefined
    return this.#waiting.wait(() => this.#byNumber.get(number), LIMITS.workloadWaitMs, signal)
  }

  /** `unknown`: the port is a workload's that this worker was not told of. */
  ownerOf(ip: string, port: number): LocalPod | 'unknown' | undefined {
    const number = this.#portOwner(ip, port)
    return number === undefined ? undefined : (this.#byNumber.get(number) ?? 'unknown')
  }

  /**
   * Whether a delivery meets a socket of the workload: any process of the node can open a port that
   * the workload has by configuration and does not use. Ports it names itself may be held for it by
   * a service manager, which is root.
   */
  receives(pod: LocalPod, { match }: Pick<Workload, 'match'>, ip: string, port: number): boolean {
    if (!pod.hostNetwork) return true
    const listener = this.#portListener(ip, port)
    if (listener !== undefined) return listener === pod.number
    return match?.ownPorts?.includes(port) === true && this.#heldByRoot(ip, port)
  }

  /** Those at this address of the node. */
  at(ip: string): LocalPod[] {
    return [...this.#byNumber.values()].filter(({ addresses }) => addresses.includes(ip))
  }
}

/** Whether these are the listeners of the node, whose connections belong to one of several. */
export function isNode(pod: LocalPod): boolean {
  return pod.uid === NODE_UID
}

export function isLoopback(ip: string): boolean {
  return ip.startsWith('127.') || ip === '::1'
}
