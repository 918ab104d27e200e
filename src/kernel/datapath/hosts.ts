// Workloads and probers that share the node's network: brings them into the mesh by the names of
// their cgroups, and out again; whatever fails leaves nothing behind.
import type { Log } from '../../base/log.ts'
import { errorText, MeshError } from '../../base/mesh-error.ts'
import { HOST_FLAGS } from '../abi.ts'
import type {
  DatapathPaths,
  EnrolledPod,
  HostEnrolment,
  HostPort,
  PodListener,
} from '../datapath.ts'
import type { BpfMap, Kernel, Namespace } from '../kernel.ts'
import { attachmentOf, cgroupNames, cgroupPath } from './cgroup.ts'
import { HostLinks } from './host-links.ts'
import { HostNames } from './host-names.ts'
import { configurePorts, forgetPorts, readPorts } from './host-ports.ts'
import { closeListeners, hideListeners, openDns } from './listeners.ts'
import type { Programs } from './load.ts'
import { NodeDoor } from './node.ts'
import { familiesOf, type PodState, podState } from './pod.ts'
import { revive, silence } from './served.ts'
import { endInheritedOf, releaseHost, tagHost } from './sweep.ts'

export interface HostsParts {
  readonly kernel: Kernel
  readonly log: Log
  readonly programs: Programs
  /** Runs a task when nothing else is going on. */
  readonly inTurn: <T>(task: () => Promise<T>) => Promise<T>
}

interface HostState extends PodState {
  readonly cgroup: string
}

export class Hosts {
  readonly #parts: HostsParts
  readonly #paths: DatapathPaths
  readonly #namespace: Namespace
  readonly #names: HostNames
  readonly #links: HostLinks
  readonly #door: NodeDoor
  readonly #hosts = new Map<string, HostState>()
  #stopped = false

  /** `namespace` is the agent's own; the caller closes it. The programs are loaded. */
  constructor(
    parts: HostsParts,
    options: { readonly paths: DatapathPaths; readonly namespace: Namespace },
  ) {
    const { pins } = options.paths
    this.#parts = parts
    this.#paths = options.paths
    this.#namespace = options.namespace
    this.#names = new HostNames(parts.programs.map('weft_hosts'))
    const onReplaced = () => void this.#attachAgain()
    this.#links = new HostLinks({ ...parts, onReplaced }, { pins })
    this.#door = new NodeDoor(parts, { pins, namespace: options.namespace })
  }

  get node(): EnrolledPod | undefined {
    return this.#door.node
  }

  /** Workloads this agent has enrolled. */
  get uids(): readonly string[] {
    return [...this.#hosts.keys()]
  }

  has(uid: string): boolean {
    return this.#hosts.has(uid)
  }

  /** What an agent before this one enrolled stays captured, by the programs of now, and refused. */
  async start(): Promise<void> {
    await this.#links.attach(this.#places())
    this.#links.detachExcept(this.#places())
    if (this.#workloadsKnown()) await this.#door.attachLookup()
    else this.#door.close()
  }

  async enter(host: HostEnrolment, number: number, workers: number): Promise<EnrolledPod> {
    const state = this.#stateOf(host, number)
    const before = this.#hosts.get(host.uid)
    if (before !== undefined) {
      if (samePlace(before, state)) return this.#keep(this.#moved(before, state), host.ports)
      await this.leave(host.uid)
    }
    try {
      await this.#enter(state, host.ports, workers)
    } catch (error) {
      await this.#leave(state)
      throw error
    }
    this.#hosts.set(host.uid, state)
    // Where an agent before this one enrolled it.
    await this.forget((other, cgroup) => other === number && cgroup !== state.cgroup)
    return this.#enrolled(state)
  }

  async leave(uid: string): Promise<void> {
    const state = this.#hosts.get(uid)
    if (state === undefined) return
    this.#hosts.delete(uid)
    await this.#leave(state)
  }

  /** Withdraws workloads of an agent before this one; returns how many. */
  async forget(isMeant: (number: number, cgroup: string) => boolean): Promise<number> {
    const own = new Set([...this.#hosts.values()].map(({ cgroup }) => cgroup))
    const meant = this.#names
      .entries()
      .map(({ names, entry }) => ({ cgroup: this.#pathOf(names), ...entry }))
      .filter(({ workload, cgroup }) => workload !== 0 && !own.has(cgroup))
      .filter(({ workload, cgroup }) => isMeant(workload, cgroup))
    for (const { cgroup, workload, ip4, ip6 } of meant) {
      await this.#leave({ ...this.#place(`of cgroup ${cgroup}`, workload), cgroup, ip4, ip6 })
      this.#parts.log.info('datapath.collected', { cgroup })
    }
    return meant.length
  }

  /** Those that cannot be known are told in one MeshError, after the others have been set. */
  async setProbes(cgroups: readonly string[]): Promise<void> {
    const failed: string[] = []
    const wanted = new Set<string>()
    for (const cgroup of cgroups) {
      try {
        const names = cgroupNames(cgroup)
        await this.#attachAlsoFor(cgroup)
        this.#names.change(names, { flags: HOST_FLAGS.probe })
        wanted.add(this.#pathOf(names))
      } catch (error) {
        failed.push(errorText(error))
      }
    }
    for (const { names, entry } of this.#names.entries()) {
      const isWanted = wanted.has(this.#pathOf(names))
      if (entry.flags !== 0 && !isWanted) this.#names.change(names, { flags: 0 })
    }
    this.#links.detachExcept(this.#places())
    if (failed.length > 0) throw new MeshError('datapath.cgroup', failed.join('; '))
  }

  ports(uidOf: (workload: number) => string): readonly HostPort[] {
    return readPorts(this.#parts.programs.map('weft_host_ports'), uidOf)
  }

  async endInherited(uid: string): Promise<number> {
    const state = this.#hosts.get(uid)
    return state === undefined ? 0 : endInheritedOf(this.#parts, state)
  }

  silence(worker: number): void {
    this.#door.silence(worker)
    for (const state of this.#hosts.values()) {
      const hide = (gone: readonly PodListener[]): void =>
        hideListeners(this.#listeners(), state, gone)
      silence(this.#parts.kernel, state, worker, hide)
    }
  }

  async revive(worker: number): Promise<{ uid: string; listeners: readonly PodListener[] }[]> {
    const revived = await this.#door.revive(worker)
    for (const state of this.#hosts.values()) {
      revived.push(
        ...(await revive(this.#parts.kernel, state, worker, () => this.#openDns(state, worker))),
      )
    }
    return revived
  }

  /** `keep`: what is pinned goes on refusing; `remove`: nothing stays. */
  async stop(mode: 'keep' | 'remove'): Promise<void> {
    this.#stopped = true
    this.#links.close()
    if (mode === 'keep') {
      for (const { listeners, silenced } of this.#hosts.values()) {
        closeListeners(this.#parts.kernel, [...listeners, ...silenced])
      }
      return this.#door.closeListeners()
    }
    for (const uid of this.uids) await this.leave(uid)
    await this.forget(() => true)
    await this.setProbes([])
    this.#door.close()
  }

  async #enter(state: HostState, ports: readonly number[], workers: number): Promise<void> {
    const names = cgroupNames(state.cgroup)
    const { workload, ip4, ip6 } = state
    const before = this.#names.find(names).workload
    await this.#door.open(workers)
    for (let worker = 0; worker < workers; worker++) {
      state.listeners.push(...(await this.#openDns(state, worker)))
    }
    await this.#attachAlsoFor(state.cgroup)
    this.#names.change(names, { workload, ip4, ip6 })
    if (before !== 0 && before !== workload) await this.#release({ ...state, workload: before })
    this.#configurePorts(state, ports)
    // What an agent before this one enrolled has been watched since: nothing of it is old.
    if (before === workload) return
    await tagHost(this.#parts, state)
    // What its listeners had begun to accept meanwhile.
    await tagHost(this.#parts, state)
  }

  /** Each step is tried, whatever the others do. */
  async #leave(state: HostState): Promise<void> {
    const { kernel, log } = this.#parts
    const step = async (name: string, task: () => unknown): Promise<void> => {
      try {
        await task()
      } catch (error) {
        log.warn('datapath.withdraw-step', { uid: state.uid, step: name, error: errorText(error) })
      }
    }
    const names = cgroupNames(state.cgroup)
    const { workload } = state
    if (this.#names.find(names).workload === workload) {
      await step('names', () => this.#names.change(names, { workload: 0, ip4: '::', ip6: '::' }))
    }
    await step('ports', () => this.#release(state))
    await step('close', () => {
      hideListeners(this.#listeners(), state, state.listeners)
      closeListeners(kernel, [...state.listeners, ...state.silenced])
    })
    await step('detach', () => this.#links.detachExcept(this.#places()))
    if (!this.#workloadsKnown()) await step('node', () => this.#door.close())
  }

  async #release(state: HostState): Promise<void> {
    await releaseHost(this.#parts, state)
    forgetPorts(this.#parts.programs.map('weft_host_ports'), state.workload)
  }

  async #openDns(state: HostState, worker: number): Promise<PodListener[]> {
    const { kernel } = this.#parts
    const opened: PodListener[] = []
    try {
      await openDns(kernel, { listeners: this.#listeners() }, state, worker, opened)
    } catch (error) {
      hideListeners(this.#listeners(), state, opened)
      closeListeners(kernel, opened)
      throw error
    }
    return opened
  }

  #listeners(): BpfMap {
    return this.#parts.programs.map('weft_listeners')
  }

  /** A slice above it may have been made anew since. */
  async #keep(state: HostState, ports: readonly number[]): Promise<EnrolledPod> {
    await this.#links.attach(this.#places())
    this.#links.detachExcept(this.#places())
    this.#configurePorts(state, ports)
    return this.#enrolled(state)
  }

  /** Its address is another; it is captured without a break. */
  #moved(state: HostState, { ip4, ip6 }: HostState): HostState {
    if (state.ip4 === ip4 && state.ip6 === ip6) return state
    const moved = { ...state, ip4, ip6 }
    this.#hosts.set(state.uid, moved)
    this.#names.change(cgroupNames(state.cgroup), { ip4, ip6 })
    return moved
  }

  #configurePorts(state: HostState, ports: readonly number[]): void {
    const map = this.#parts.programs.map('weft_host_ports')
    const taken = configurePorts(map, state.workload, ports)
    if (taken.length === 0) return
    this.#parts.log.warn('datapath.ports-taken', {
      uid: state.uid,
      ports: taken,
      effect: 'another workload of this node has them: they are not served for this one',
    })
  }

  #stateOf(host: HostEnrolment, number: number): HostState {
    const { uid, addresses } = host
    const cgroup = this.#pathOf(cgroupNames(host.cgroup))
    for (const other of this.#hosts.values()) {
      if (other.uid === uid || other.cgroup !== cgroup) continue
      throw new MeshError('datapath.enrol', `${uid} has the cgroup ${cgroup} of ${other.uid}`)
    }
    const place = { uid, namespace: this.#namespace, device: '', addresses }
    return { ...podState(place, number), hostNetwork: true, cgroup }
  }

  #place(uid: string, workload: number) {
    const namespace = this.#namespace
    return { uid, workload, namespace, hostNetwork: true, listeners: [], silenced: [] }
  }

  #enrolled({ uid, workload, listeners }: HostState): EnrolledPod {
    const { cookie } = this.#namespace
    return { uid, cookie, number: workload, listeners: [...listeners] }
  }

  #workloadsKnown(): boolean {
    return this.#names.entries().some(({ entry }) => entry.workload !== 0)
  }

  async #attachAgain(): Promise<void> {
    try {
      await this.#parts.inTurn(async () => {
        if (this.#stopped) return
        await this.#links.attach(this.#places())
        this.#links.detachExcept(this.#places())
      })
    } catch (error) {
      this.#parts.log.error('datapath.attach-failed', { error: errorText(error) })
    }
  }

  async #attachAlsoFor(cgroup: string): Promise<void> {
    const place = attachmentOf(cgroup, this.#others())
    await this.#links.attach([...this.#places(), ...(place === undefined ? [] : [place])])
  }

  /** Where programs must be attached for what is known now. */
  #places(): ReadonlySet<string> {
    const places = new Set<string>()
    for (const { names } of this.#names.entries()) {
      try {
        const place = attachmentOf(this.#pathOf(names), this.#others())
        if (place !== undefined) places.add(place)
      } catch (error) {
        // An agent before this one ran elsewhere; what it enrolled here is withdrawn as unclaimed.
        const cgroup = this.#pathOf(names)
        this.#parts.log.warn('datapath.cgroup-misplaced', { cgroup, error: errorText(error) })
      }
    }
    return places
  }

  #pathOf(names: readonly string[]): string {
    return cgroupPath(names, this.#paths.agentCgroup)
  }

  #others() {
    const { agentCgroup: agent, workloadsCgroup: workloads } = this.#paths
    return { agent, workloads }
  }
}

/** Whether the sockets of the one serve the other. */
const samePlace = (a: HostState, b: HostState): boolean =>
  a.cgroup === b.cgroup && String(familiesOf(a)) === String(familiesOf(b))
