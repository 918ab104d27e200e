// Brings workloads of this node into the mesh and takes them out again: reconciles what the
// cgroup watch sees with what the registry knows. One reconciliation at a time. Those without a
// network of their own are host-enroller.ts's.
import type { Timer } from '../base/clock.ts'
import { errorText } from '../base/mesh-error.ts'
import { Serial } from '../base/serial.ts'
import { type Binding, bindCgroups } from '../compile/bind-workload.ts'
import type { CgroupWatch } from '../discovery/cgroup-watch.ts'
import type { Containers } from '../discovery/containers.ts'
import type { PathWatch } from '../discovery/path-watch.ts'
import type { PodListener } from '../kernel/datapath.ts'
import type { Kernel, Namespace } from '../kernel/kernel.ts'
import type { ContainerFacts } from '../model/container.ts'
import type { Reason } from '../model/reason.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'
import { identityOf, type Workload } from '../model/workload.ts'
import { AwaitedIdentities } from './awaited-identities.ts'
import { HostEnroller, type HostEnrollerOptions, type HostEnrollerParts } from './host-enroller.ts'
import { endInheritedLater } from './inherited.ts'
import { type Enrolment, type Serving, servingOf, withListeners } from './serving.ts'

/** When an identity that is wanted has become ready, `reconcile` must be called. */
export interface EnrollerParts extends HostEnrollerParts {
  readonly kernel: Kernel
  readonly watch: CgroupWatch
  readonly containers: Pick<Containers, 'look'>
  /** Called after workloads have entered, before anything else changes. */
  readonly afterEntering: () => Promise<void>
  /** Told of the cgroups of host-network workloads; `reconcile` is called when the way to one has
   * changed. */
  readonly hostWatch: Pick<PathWatch, 'follow'>
  /** Name of the agent's own network namespace, as /proc/self/ns/net names it. */
  readonly ownNamespace: () => string
  /** The same of another process; throws when it is gone. */
  readonly namespaceOf: (pid: number) => string
}

const DEVICE = 'eth0'
const RETRY_MS = 25
const RETRY_MAX_MS = 2_000
const ANNOTATE =
  'annotate exactly one workload of this node with weft.dev/match: cgroup=<path> or container=<name>'
/** How long a cgroup may be empty before its workload leaves (a program that restarts). */
const LINGER_MS = 1_000

export class Enroller {
  readonly #parts: EnrollerParts
  readonly #nodeName: string
  readonly #enrolled = new Map<string, Enrolment>()
  readonly #hosts: HostEnroller
  readonly #awaited: AwaitedIdentities
  readonly #emptySinceMs = new Map<string, number>()
  readonly #unbound = new Map<string, { said: string; sinceMs: number; told: boolean }>()
  #tables: Tables | undefined
  readonly #serial = new Serial()
  #queued: Promise<void> | undefined
  #retry: Timer | undefined
  #retryMs = RETRY_MS
  #stopped = false

  constructor(parts: EnrollerParts, options: HostEnrollerOptions) {
    this.#parts = parts
    this.#nodeName = options.nodeName
    this.#hosts = new HostEnroller(parts, options)
    this.#awaited = new AwaitedIdentities(parts)
  }

  /** By uid. */
  get enrolled(): ReadonlyMap<string, Enrolment> {
    return new Map([...this.#enrolled, ...this.#hosts.enrolled])
  }

  has(uid: string): boolean {
    return this.#enrolled.has(uid) || this.#hosts.has(uid)
  }

  /** What every worker serves, the node's own listeners among it. */
  servings(): readonly Serving[] {
    return [...this.#hosts.servings(), ...[...this.#enrolled.values()].map(servingOf)]
  }

  setTables(tables: Tables): Promise<void> {
    this.#tables = tables
    return this.reconcile()
  }

  /** Runs soon; calls while one is waiting are one. */
  reconcile(): Promise<void> {
    if (this.#queued !== undefined) return this.#queued
    this.#queued = this.#serial.run(async () => {
      this.#queued = undefined
      if (!this.#stopped) await this.#reconcileNow()
    })
    return this.#queued
  }

  /** Runs `task` while nothing enters or leaves. */
  exclusive<T>(task: () => Promise<T>): Promise<T> {
    return this.#serial.run(task)
  }

  /** Notes a replacement worker's new listeners, unless the pod has left meanwhile. */
  replaceListeners(uid: string, worker: number, listeners: readonly PodListener[]): void {
    const enrolment = this.#enrolled.get(uid)
    if (enrolment === undefined) {
      this.#hosts.replaceListeners(uid, worker, listeners)
      return
    }
    const pod = withListeners(enrolment.pod, worker, listeners)
    this.#enrolled.set(uid, { ...enrolment, pod })
  }

  /** Takes every workload out. */
  async stop(reason: Reason): Promise<void> {
    this.#stopped = true
    this.#retry?.cancel()
    await this.#serial.run(async () => {
      for (const uid of [...this.#enrolled.keys()]) await this.#leave(uid, reason)
      this.#awaited.prune(() => undefined)
      await this.#hosts.stop(reason)
      this.#parts.hostWatch.follow([])
    })
  }

  async #reconcileNow(): Promise<void> {
    const tables = this.#tables
    if (tables === undefined) return
    this.#parts.troubles.prune((uid) => tables.workloads.has(uid))
    const present = this.#present(tables)
    for (const [uid, enrolment] of [...this.#enrolled]) {
      const workload = tables.workloads.get(uid)
      if (workload === undefined || !sameEnrolment(workload, enrolment.workload)) {
        await this.#leave(uid, 'workload-removed')
        continue
      }
      const found = present.get(uid)
      if (found === undefined) await this.#linger(uid)
      else if (this.#hasMoved(enrolment, found.pids)) await this.#leave(uid, 'workload-removed')
      else this.#emptySinceMs.delete(uid)
    }
    this.#awaited.prune((uid) => present.get(uid)?.workload)
    let { unfinished, entered } = await this.#hosts.reconcile(tables)
    this.#parts.hostWatch.follow(this.#hosts.cgroups)
    // Before the watch began nobody told.
    if (this.#hosts.isElsewhere()) unfinished = true
    for (const [uid, found] of present) {
      if (this.#enrolled.has(uid)) continue
      if (await this.#tryEnter(found.workload, found.pids)) entered = true
      else unfinished = true
    }
    if (entered) await this.#parts.afterEntering()
    const untold = [...this.#unbound.values()].some((each) => !each.told)
    this.#scheduleRetry(unfinished || untold || this.#emptySinceMs.size > 0)
  }

  #present(tables: Tables): Map<string, { workload: TableWorkload; pids: number[] }> {
    const present = new Map<string, { workload: TableWorkload; pids: number[] }>()
    const local = [...tables.workloads.values()].filter((each) => each.node === this.#nodeName)
    const groups = this.#parts.watch.populated()
    const paths = new Set(groups.map((group) => group.path))
    for (const path of this.#unbound.keys()) if (!paths.has(path)) this.#unbound.delete(path)
    const containers = this.#parts.containers.look(groups)
    const candidates = groups.map(({ path }) => ({ path, container: containers.get(path) }))
    const bindings = bindCgroups(candidates, local, this.#nodeName)
    for (const group of groups) {
      const binding = bindings.get(group.path) ?? { kind: 'unknown' }
      if (binding.kind !== 'bound') {
        this.#reportOnce(group.path, binding, containers.get(group.path))
        continue
      }
      this.#unbound.delete(group.path)
      const workload = tables.workloads.get(binding.workload.uid)
      if (workload === undefined) continue
      const known = present.get(workload.uid)
      if (known === undefined) present.set(workload.uid, { workload, pids: [...group.pids] })
      else known.pids.push(...group.pids)
    }
    return present
  }

  /** Told once, and not while the configuration may still be on its way. */
  #reportOnce(
    path: string,
    binding: Exclude<Binding, { kind: 'bound' }>,
    container: ContainerFacts | undefined,
  ): void {
    const said = JSON.stringify([binding, container])
    const nowMs = this.#parts.clock.nowMs()
    const known = this.#unbound.get(path)
    if (known?.said !== said) {
      this.#unbound.set(path, { said, sinceMs: nowMs, told: false })
      return
    }
    if (known.told || nowMs - known.sinceMs < LINGER_MS) return
    known.told = true
    const found = container === undefined ? {} : { container: container.id, names: container.names }
    const where = { cgroup: path, ...found }
    if (binding.kind === 'unknown') {
      this.#parts.log.warn('enrolment.unknown', { ...where, remedy: ANNOTATE })
    } else if (binding.kind === 'ambiguous') {
      const workloads = binding.uids
      for (const uid of workloads) {
        this.#parts.troubles.set(uid, `the cgroup ${path} fits several workloads: ${ANNOTATE}`)
      }
      this.#parts.log.error('enrolment.ambiguous', { ...where, workloads, remedy: ANNOTATE })
    } else {
      const { uid, containers } = binding
      const remedy = 'name one of them by its id in weft.dev/match: container=<id>'
      this.#parts.troubles.set(uid, `several containers fit it: ${remedy}`)
      this.#parts.log.error('enrolment.crowded', { ...where, workload: uid, containers, remedy })
    }
  }

  /** false when it must be tried again. */
  async #tryEnter(workload: TableWorkload, pids: readonly number[]): Promise<boolean> {
    const { uid } = workload
    if (!this.#awaited.isReady(workload)) return false
    const namespace = await this.#foreignNamespace(pids)
    if (namespace === undefined) {
      this.#parts.troubles.set(uid, "no process of it has left the node's network namespace yet")
      return false
    }
    const { addresses } = workload
    try {
      const pod = await this.#parts.datapath.enrol({ uid, namespace, device: DEVICE, addresses })
      const enrolment = { workload, namespace, pod }
      this.#awaited.handOver(uid)
      this.#enrolled.set(uid, enrolment)
      await this.#parts.serve(servingOf(enrolment))
    } catch (error) {
      this.#parts.troubles.set(uid, errorText(error))
      this.#parts.log.error('enrolment.failed', { workload: uid, error: errorText(error) })
      if (this.#enrolled.has(uid)) await this.#leave(uid, 'internal')
      else namespace.close()
      return false
    }
    this.#parts.mark(workload, true)
    this.#parts.troubles.clear(uid)
    const graceMs = this.#tables?.mesh.enrolGraceMs ?? 0
    endInheritedLater(this.#parts, workload, graceMs, () => this.#enrolled.has(uid))
    const identity = identityOf(workload)
    this.#parts.log.info('enrolment.entered', { workload: uid, identity, addresses })
    return true
  }

  /** The network namespace of the first process that has left this agent's own. */
  async #foreignNamespace(pids: readonly number[]): Promise<Namespace | undefined> {
    const own = this.#parts.ownNamespace()
    for (const pid of pids) {
      try {
        if (this.#parts.namespaceOf(pid) === own) continue
        return await this.#parts.kernel.openNamespace(`/proc/${pid}/ns/net`)
      } catch {
        // The process ended meanwhile; another, or the next event, will do.
      }
    }
    return undefined
  }

  /** Whether every process is in another namespace than the enrolled one: a new pod of the name. */
  #hasMoved(enrolment: Enrolment, pids: readonly number[]): boolean {
    const enrolled = `net:[${enrolment.namespace.inode}]`
    const own = this.#parts.ownNamespace()
    const seen = pids.flatMap((pid) => this.#namespaceIfAlive(pid) ?? [])
    return seen.some((name) => name !== own) && !seen.includes(enrolled)
  }

  #namespaceIfAlive(pid: number): string | undefined {
    try {
      return this.#parts.namespaceOf(pid)
    } catch {
      return undefined
    }
  }

  async #linger(uid: string): Promise<void> {
    const nowMs = this.#parts.clock.nowMs()
    const sinceMs = this.#emptySinceMs.get(uid)
    if (sinceMs === undefined) this.#emptySinceMs.set(uid, nowMs)
    else if (nowMs - sinceMs >= LINGER_MS) await this.#leave(uid, 'workload-removed')
  }

  async #leave(uid: string, reason: Reason): Promise<void> {
    const enrolment = this.#enrolled.get(uid)
    if (enrolment === undefined) return
    this.#enrolled.delete(uid)
    this.#emptySinceMs.delete(uid)
    this.#parts.mark(enrolment.workload, false)
    await this.#attempt(uid, () => this.#parts.unserve(uid, reason))
    await this.#attempt(uid, () => this.#parts.datapath.withdraw(uid))
    this.#parts.forgetIdentity(identityOf(enrolment.workload))
    enrolment.namespace.close()
    this.#parts.log.info('enrolment.left', { workload: uid, reason })
  }

  async #attempt(uid: string, step: () => Promise<void>): Promise<void> {
    try {
      await step()
    } catch (error) {
      this.#parts.log.error('enrolment.leave-failed', { workload: uid, error: errorText(error) })
    }
  }

  #scheduleRetry(needed: boolean): void {
    this.#retry?.cancel()
    this.#retry = undefined
    if (!needed) {
      this.#retryMs = RETRY_MS
      return
    }
    this.#retry = this.#parts.clock.after(this.#retryMs, () => void this.reconcile())
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS)
  }
}

/** Whether a changed workload may keep its enrolment: same addresses, same identity. */
function sameEnrolment(a: Workload, b: Workload): boolean {
  return (
    identityOf(a) === identityOf(b) &&
    a.addresses.length === b.addresses.length &&
    a.addresses.every((address, at) => address === b.addresses[at])
  )
}
