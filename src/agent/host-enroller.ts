// Brings workloads that share the node's network into the mesh, and takes them out again. They are
// enrolled because the configuration names their cgroup, whether or not a process lives there: the
// kernel must know a service before it starts.
import { join } from 'node:path'
import { errorText, MeshError } from '../base/mesh-error.ts'
import type { EnrolledPod, HostEnrolment, PodListener } from '../kernel/datapath.ts'
import type { Kernel, Namespace } from '../kernel/kernel.ts'
import { NODE_UID } from '../model/messages.ts'
import type { Reason } from '../model/reason.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'
import { identityOf, type Workload } from '../model/workload.ts'
import { AwaitedIdentities, type AwaitedIdentitiesParts } from './awaited-identities.ts'
import { endInheritedLater, type InheritedParts } from './inherited.ts'
import { type Enrolment, type Serving, servingOf, servingOfNode, withListeners } from './serving.ts'
import type { Troubles } from './troubles.ts'

export interface HostEnrollerParts extends AwaitedIdentitiesParts, InheritedParts {
  readonly kernel: Pick<Kernel, 'openNamespace'>
  /** Resolves once every worker serves it. */
  readonly serve: (serving: Serving) => Promise<void>
  /** Resolves once no worker serves it. */
  readonly unserve: (uid: string, reason: Reason) => Promise<void>
  readonly mark: (workload: Workload, enrolled: boolean) => void
  readonly troubles: Troubles
  /** Which directories lead to a cgroup now: another text when one was made anew. */
  readonly wayTo: (cgroup: string) => string
  /** Whether the node has that address now. */
  readonly isNodes: (ip: string) => boolean
}

export interface HostEnrollerOptions {
  readonly nodeName: string
  /** Where cgroup v2 is mounted. */
  readonly cgroup2: string
  readonly agentCgroup: string
  readonly workloadsCgroup: string
}

interface Host {
  readonly enrolment: Enrolment
  /** Absolute. */
  readonly cgroup: string
  /** The way to it when the kernel last heard of it. */
  readonly way: string
  /** Under which workers serve it; undefined while they do not. */
  readonly identity?: string
}

const OWN_NAMESPACE = '/proc/self/ns/net'

export class HostEnroller {
  readonly #parts: HostEnrollerParts
  readonly #options: HostEnrollerOptions
  readonly #hosts = new Map<string, Host>()
  readonly #awaited: AwaitedIdentities
  /** What was said of workloads that cannot be enrolled, by uid. */
  readonly #refused = new Map<string, string>()
  #node: EnrolledPod | undefined
  #namespace: Namespace | undefined

  constructor(parts: HostEnrollerParts, options: HostEnrollerOptions) {
    this.#parts = parts
    this.#options = options
    this.#awaited = new AwaitedIdentities(parts)
  }

  /** Those that workers serve, by uid. */
  get enrolled(): ReadonlyMap<string, Enrolment> {
    const served = [...this.#hosts].filter(([, { identity }]) => identity !== undefined)
    return new Map(served.map(([uid, { enrolment }]) => [uid, enrolment]))
  }

  /** Whether workers serve it. */
  has(uid: string): boolean {
    return this.#hosts.get(uid)?.identity !== undefined
  }

  /** Absolute paths of the cgroups the kernel was told of. */
  get cgroups(): readonly string[] {
    return [...this.#hosts.values()].map(({ cgroup }) => cgroup)
  }

  /** Whether the way to one of them has changed since. */
  isElsewhere(): boolean {
    return [...this.#hosts.values()].some(({ cgroup, way }) => this.#parts.wayTo(cgroup) !== way)
  }

  /** The node first, if anybody is enrolled. */
  servings(): readonly Serving[] {
    const hosts = [...this.enrolled.values()].map(servingOf)
    if (this.#node === undefined || this.#namespace === undefined) return hosts
    return [servingOfNode(this.#node, this.#namespace), ...hosts]
  }

  /** Says whether somebody has entered, and whether something must be tried again. */
  async reconcile(tables: Tables): Promise<{ entered: boolean; unfinished: boolean }> {
    const wanted = this.#wanted(tables)
    for (const [uid, host] of [...this.#hosts]) {
      const workload = wanted.get(uid)
      if (workload === undefined || !samePlace(workload, host.enrolment.workload)) {
        await this.#leave(uid, 'workload-removed')
      }
    }
    this.#awaited.prune((uid) => wanted.get(uid))
    let unfinished = false
    let entered = false
    for (const workload of wanted.values()) {
      const known = this.#hosts.get(workload.uid)
      try {
        // Captured at once, and refused until there is a certificate to speak under.
        if (known === undefined) await this.#enter(workload)
        else await this.#keep(known, workload)
        if (this.#hosts.get(workload.uid)?.identity !== undefined) continue
        if (await this.#serve(workload, tables.mesh.enrolGraceMs)) entered = true
        else unfinished = true
      } catch (error) {
        unfinished = true
        this.#parts.troubles.set(workload.uid, errorText(error))
        this.#parts.log.error('enrolment.failed', {
          workload: workload.uid,
          error: errorText(error),
        })
      }
    }
    return { entered, unfinished }
  }

  /** Notes a replacement worker's new listeners, unless the workload has left meanwhile. */
  replaceListeners(uid: string, worker: number, listeners: readonly PodListener[]): void {
    if (uid === NODE_UID) {
      if (this.#node !== undefined) this.#node = withListeners(this.#node, worker, listeners)
      return
    }
    const host = this.#hosts.get(uid)
    if (host === undefined) return
    const pod = withListeners(host.enrolment.pod, worker, listeners)
    this.#hosts.set(uid, { ...host, enrolment: { ...host.enrolment, pod } })
  }

  /** Takes every workload out. */
  async stop(reason: Reason): Promise<void> {
    for (const uid of [...this.#hosts.keys()]) await this.#leave(uid, reason)
    this.#awaited.prune(() => undefined)
  }

  #wanted(tables: Tables): ReadonlyMap<string, TableWorkload> {
    const wanted = new Map<string, TableWorkload>()
    for (const workload of tables.workloads.values()) {
      if (!isHostOf(workload, this.#options.nodeName)) continue
      const why = this.#misplaced(this.#cgroupOf(workload))
      if (why === undefined) {
        this.#refused.delete(workload.uid)
        wanted.set(workload.uid, workload)
      } else if (this.#refused.get(workload.uid) !== why) {
        this.#refused.set(workload.uid, why)
        this.#parts.troubles.set(workload.uid, why)
        this.#parts.log.error('enrolment.refused', { workload: workload.uid, why })
      }
    }
    return wanted
  }

  #cgroupOf(workload: Workload): string {
    return join(this.#options.cgroup2, workload.match?.pattern ?? '')
  }

  /** Why the mesh cannot take this cgroup for a workload. */
  #misplaced(cgroup: string): string | undefined {
    const { agentCgroup, workloadsCgroup } = this.#options
    const remedy = 'name the cgroup of one service in weft.dev/cgroup'
    if (isWithin(cgroup, agentCgroup)) {
      return `${cgroup} is in the agents' own cgroup, which the mesh leaves alone: ${remedy}`
    }
    for (const below of [agentCgroup, workloadsCgroup]) {
      if (isWithin(below, cgroup)) return `${cgroup} holds ${below} as well: ${remedy}`
    }
    return undefined
  }

  async #enter(workload: TableWorkload): Promise<void> {
    const { datapath, kernel } = this.#parts
    this.#namespace ??= await kernel.openNamespace(OWN_NAMESPACE)
    const cgroup = this.#cgroupOf(workload)
    const pod = await datapath.enrolHost(hostEnrolment(workload, cgroup))
    const enrolment = { workload, namespace: this.#namespace, pod }
    // Now, because the kernel's side makes what is missing.
    this.#hosts.set(workload.uid, { enrolment, cgroup, way: this.#parts.wayTo(cgroup) })
  }

  /** It stays captured without a break: other ports, another identity or address, other rules, a slice
   * made anew. */
  async #keep(host: Host, workload: TableWorkload): Promise<void> {
    const { uid } = workload
    const before = host.enrolment.workload
    let next: Host = { ...host, enrolment: { ...host.enrolment, workload } }
    const isElsewhere = this.#parts.wayTo(host.cgroup) !== host.way
    const isMoved = !sameList(before.addresses, workload.addresses)
    if (isElsewhere || isMoved || !samePorts(before, workload)) {
      await this.#parts.datapath.enrolHost(hostEnrolment(workload, host.cgroup))
      next = { ...next, way: this.#parts.wayTo(host.cgroup) }
    }
    this.#hosts.set(uid, next)
    if (host.identity === undefined) return
    if (host.identity === identityOf(workload) && !isMoved) return
    // The kernel goes on capturing: what it speaks meanwhile is refused.
    const { identity, ...unserved } = next
    this.#hosts.set(uid, unserved)
    this.#parts.mark(before, false)
    await this.#parts.unserve(uid, 'workload-removed')
    if (identity !== undefined) this.#parts.forgetIdentity(identity)
  }

  /** false when its certificate is still awaited. */
  async #serve(workload: TableWorkload, enrolGraceMs: number): Promise<boolean> {
    const { uid, addresses } = workload
    await this.#serveNode()
    const host = this.#hosts.get(uid)
    if (host === undefined || !this.#awaited.isReady(workload)) return false
    const identity = identityOf(workload)
    await this.#parts.serve(servingOf(host.enrolment))
    this.#awaited.handOver(uid)
    this.#hosts.set(uid, { ...host, identity })
    this.#parts.mark(workload, true)
    this.#parts.troubles.clear(uid)
    endInheritedLater(this.#parts, workload, enrolGraceMs, () => this.#hosts.has(uid))
    const cgroup = host.cgroup
    this.#parts.log.info('enrolment.entered', { workload: uid, identity, addresses, cgroup })
    if (!addresses.some((ip) => this.#parts.isNodes(ip))) {
      const remedy = 'nobody reaches it there: write an address of this node in spec.address'
      this.#parts.log.warn('enrolment.address-elsewhere', { workload: uid, addresses, remedy })
    }
    return true
  }

  async #serveNode(): Promise<void> {
    const { node } = this.#parts.datapath
    if (this.#node !== undefined || this.#namespace === undefined) return
    if (node === undefined) {
      throw new MeshError('enrolment.node', "the node's own listeners are not open")
    }
    await this.#parts.serve(servingOfNode(node, this.#namespace))
    this.#node = node
  }

  async #leave(uid: string, reason: Reason): Promise<void> {
    const host = this.#hosts.get(uid)
    if (host === undefined) return
    this.#hosts.delete(uid)
    const { workload } = host.enrolment
    if (host.identity !== undefined) {
      this.#parts.mark(workload, false)
      await this.#attempt(uid, () => this.#parts.unserve(uid, reason))
    }
    // The kernel's side closes the node's listeners with the last workload.
    if (this.#hosts.size === 0 && this.#node !== undefined) {
      this.#node = undefined
      await this.#attempt(NODE_UID, () => this.#parts.unserve(NODE_UID, reason))
    }
    await this.#attempt(uid, () => this.#parts.datapath.withdraw(uid))
    if (host.identity !== undefined) this.#parts.forgetIdentity(host.identity)
    if (this.#hosts.size === 0) {
      this.#namespace?.close()
      this.#namespace = undefined
    }
    this.#parts.log.info('enrolment.left', { workload: uid, reason })
  }

  async #attempt(uid: string, step: () => Promise<void>): Promise<void> {
    try {
      await step()
    } catch (error) {
      this.#parts.log.error('enrolment.leave-failed', { workload: uid, error: errorText(error) })
    }
  }
}

/** Whether the mesh takes in this workload by its cgroup on that node. */
export function isHostOf(workload: Workload, nodeName: string): boolean {
  return (
    workload.match?.kind === 'host' && workload.node === nodeName && workload.tunnel === 'hbone'
  )
}

function hostEnrolment(workload: Workload, cgroup: string): HostEnrolment {
  const { uid, addresses } = workload
  return { uid, cgroup, addresses, ports: workload.match?.ports ?? [] }
}

function samePlace(a: Workload, b: Workload): boolean {
  const families = ({ addresses }: Workload) => addresses.map((ip) => ip.includes(':'))
  return a.match?.pattern === b.match?.pattern && sameList(families(a), families(b))
}

function samePorts(a: Workload, b: Workload): boolean {
  return sameList(a.match?.ports ?? [], b.match?.ports ?? [])
}

function sameList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((each, at) => each === b[at])
}

function isWithin(path: string, above: string): boolean {
  return path === above || path.startsWith(`${above}/`)
}
