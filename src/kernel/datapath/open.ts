// The mesh in the kernel: owns what is loaded, pinned and attached, and every pod's listeners.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Log } from '../../base/log.ts'
import { MeshError } from '../../base/mesh-error.ts'
import { Serial } from '../../base/serial.ts'
import type { AccessEntry } from '../../model/access-entry.ts'
import { LIMITS } from '../../model/limits.ts'
import { REASONS, type Reason } from '../../model/reason.ts'
import type { WantedMaps } from '../../model/wanted-maps.ts'
import { COSTS, POD } from '../abi.ts'
import type { KernelForms } from '../capability.ts'
import type {
  Datapath,
  DatapathPaths,
  DatapathSettings,
  DirectConnection,
  EnrolledPod,
  HostEnrolment,
  HostPort,
  PodEnrolment,
  PodListener,
  WorkerMapIds,
} from '../datapath.ts'
import type { Kernel, Namespace } from '../kernel.ts'
import { findPlaces, type Places, readSettings, writeSettings } from './config.ts'
import { readCounters, readListening, readLive } from './counters.ts'
import { Enrolment } from './enrol.ts'
import { denials, encodeGeneration, publish, uidsOf } from './generation.ts'
import { Hosts } from './hosts.ts'
import { pinnedHighWater, WorkloadIds } from './ids.ts'
import { closeListeners, hideListeners, openListeners } from './listeners.ts'
import { Programs, pinsOf } from './load.ts'
import { type PinnedPod, pinnedPods } from './pinned.ts'
import { cookieKey, type PodState, requireDistinct } from './pod.ts'
import { Reports } from './reports.ts'
import { revive, silence } from './served.ts'
import { endInherited, endSockets, listDirect } from './sweep.ts'

export interface DatapathParts {
  readonly kernel: Kernel
  readonly log: Log
  /** Where the built objects are; default `bpf/out` of this package. */
  readonly objects?: string
  /** Older forms than this kernel has, to test them. */
  readonly forms?: Partial<KernelForms>
}

/** Cost of one more connection for workers that share evenly. */
const EVEN_COST = 256
const FIRST = Buffer.alloc(4)
const isGone = ({ inode }: PinnedPod): boolean => inode === 0

export function openDatapath(parts: DatapathParts, paths: DatapathPaths): Datapath {
  return new KernelDatapath(parts, paths)
}

class KernelDatapath implements Datapath {
  readonly #kernel: Kernel
  readonly #log: Log
  readonly #paths: DatapathPaths
  readonly #programs: Programs
  readonly #pods = new Map<string, PodState>()
  readonly #reports: Reports
  /** Pods of an agent before this one whose pins were replaced, until they enrol again. */
  #replaced: readonly PinnedPod[] = []
  #ids: WorkloadIds | undefined
  #places: Places | undefined
  /** The agent's own. */
  #namespace: Namespace | undefined
  #hosts: Hosts | undefined
  #workers = 0
  #current: WantedMaps | undefined
  /** Enrolments, withdrawals and sweeps, one after another. */
  readonly #serial = new Serial()

  constructor(parts: DatapathParts, paths: DatapathPaths) {
    this.#kernel = parts.kernel
    this.#log = parts.log
    this.#paths = paths
    this.#reports = new Reports(parts)
    const objects = parts.objects ?? fileURLToPath(new URL('../../../bpf/out/', import.meta.url))
    this.#programs = new Programs(parts, { pins: paths.pins, objects })
  }

  get workerMaps(): WorkerMapIds {
    return {
      origins: this.#programs.map('weft_sock_origin').id,
      asked: this.#programs.map('weft_asked').id,
      hostPorts: this.#programs.map('weft_host_ports').id,
    }
  }

  get forms(): KernelForms {
    return this.#programs.forms
  }

  get node(): EnrolledPod | undefined {
    return this.#hosts?.node
  }

  enrolHost(host: HostEnrolment): Promise<EnrolledPod> {
    return this.#inTurn(async () => {
      const workers = this.#knownWorkers()
      if (this.#pods.has(host.uid)) await this.#withdraw(host.uid)
      const number = this.#knownIds().numberOf(host.uid)
      const enrolled = await this.#knownHosts().enter(host, number, workers)
      await this.#collect((pod) => isGone(pod) || this.#workloadAt(pod.cookie) === number)
      return enrolled
    })
  }

  setProbes(cgroups: readonly string[]): Promise<void> {
    return this.#inTurn(() => this.#knownHosts().setProbes(cgroups))
  }

  hostPorts(): readonly HostPort[] {
    return this.#knownHosts().ports((number) => this.#ids?.uidOf(number) ?? '')
  }

  async start(): Promise<void> {
    const places = findPlaces(this.#paths)
    this.#namespace ??= await this.#kernel.openNamespace('/proc/self/ns/net')
    this.#places = { ...places, nodeNetns: this.#namespace.cookie }
    const before = pinnedPods(this.#kernel, this.#paths.pins)
    await this.#programs.load()
    const kept = new Set(pinnedPods(this.#kernel, this.#paths.pins).map(({ cookie }) => cookie))
    this.#replaced = before.filter(({ cookie, inode }) => inode !== 0 && !kept.has(cookie))
    this.#ids = new WorkloadIds(
      { log: this.#log, highWater: pinnedHighWater(this.#kernel, pinsOf(this.#paths.pins).maps) },
      { directory: this.#paths.stateDirectory },
    )
    this.#ids.load()
    // Settings of an agent before this one stay in force until `configure`.
    const settings = readSettings(this.#config())
    writeSettings(this.#config(), this.#knownPlaces(), settings)
    await this.#programs.attach(this.#paths)
    const inTurn = <T>(task: () => Promise<T>) => this.#inTurn(task)
    const parts = { ...this.#sweepParts(), log: this.#log, inTurn }
    this.#hosts = new Hosts(parts, { paths: this.#paths, namespace: this.#namespace })
    await this.#hosts.start()
    await this.#collect(isGone)
    this.#reports.start(this.#programs.map('weft_events'), (id) => this.#ids?.uidOf(id))
    this.#log.info('datapath.started', {
      pins: this.#paths.pins,
      takenOver: settings.configured === 1,
    })
  }

  configure(settings: DatapathSettings): void {
    if (settings.workers < 1 || settings.workers > LIMITS.workersMax) {
      throw new MeshError(
        'datapath.configure',
        `${settings.workers} workers are not between 1 and ${LIMITS.workersMax}`,
      )
    }
    this.#workers = settings.workers
    const cost = Array.from({ length: settings.workers }, () => EVEN_COST)
    this.#programs.map('weft_costs').update(FIRST, COSTS.encode({ cost }))
    writeSettings(this.#config(), this.#knownPlaces(), {
      configured: 1,
      unknown_pass: settings.unknown === 'pass' ? 1 : 0,
      direct: settings.directPath ? 1 : 0,
      dns: settings.dns ? 1 : 0,
      workers: settings.workers,
    })
  }

  enrol(pod: PodEnrolment): Promise<EnrolledPod> {
    return this.#inTurn(async () => {
      const workers = this.#knownWorkers()
      await this.#withdraw(pod.uid)
      for (const other of this.#pods.values()) requireDistinct(pod, other)
      const workload = this.#knownIds().numberOf(pod.uid)
      const parts = this.#enrolmentParts()
      const state = await new Enrolment(parts).enter(pod, workload, workers)
      this.#pods.set(pod.uid, state)
      const { cookie } = pod.namespace
      this.#replaced = this.#replaced.filter((replaced) => replaced.cookie !== cookie)
      // Where an agent before this one enrolled it, and what ended since.
      await this.#collect(
        (earlier) => isGone(earlier) || this.#workloadAt(earlier.cookie) === workload,
      )
      await this.#knownHosts().forget((number) => number === workload)
      return { uid: pod.uid, cookie, number: workload, listeners: [...state.listeners] }
    })
  }

  endInherited(uid: string): Promise<number> {
    return this.#inTurn(async () => {
      const pod = this.#pods.get(uid)
      if (pod === undefined) return this.#knownHosts().endInherited(uid)
      return endInherited(this.#sweepParts(), pod)
    })
  }

  withdraw(uid: string): Promise<void> {
    return this.#inTurn(async () => {
      await this.#withdraw(uid)
      await this.#collect(isGone)
    })
  }

  withdrawUnclaimed(keep: ReadonlySet<string> = new Set()): Promise<number> {
    const isUnclaimed = (number: number): boolean => {
      const uid = this.#knownIds().uidOf(number)
      return uid === undefined || !keep.has(uid) || this.#isEnrolled(uid)
    }
    return this.#inTurn(async () => {
      const pods = await this.#collect(({ cookie }) => isUnclaimed(this.#workloadAt(cookie)))
      return pods + (await this.#knownHosts().forget(isUnclaimed))
    })
  }

  silenceWorker(worker: number): void {
    const map = this.#programs.map('weft_listeners')
    for (const pod of this.#pods.values()) {
      silence(this.#kernel, pod, worker, (gone) => hideListeners(map, pod, gone))
    }
    this.#hosts?.silence(worker)
  }

  reviveWorker(
    worker: number,
  ): Promise<readonly { uid: string; listeners: readonly PodListener[] }[]> {
    return this.#inTurn(async () => {
      const maps = {
        listeners: this.#programs.map('weft_listeners'),
        listener: this.#programs.map('weft_listener'),
      }
      const revived = await this.#knownHosts().revive(worker)
      for (const pod of this.#pods.values()) {
        const open = () => openListeners(this.#kernel, maps, pod, worker)
        revived.push(...(await revive(this.#kernel, pod, worker, open)))
      }
      return revived
    })
  }

  applyDenials(wanted: WantedMaps): void {
    this.#publish(denials(this.#current, wanted))
  }

  applyGeneration(wanted: WantedMaps): void {
    this.#publish(wanted)
  }

  liveDirect(): Promise<readonly DirectConnection[]> {
    return this.#inTurn(async () => {
      const ids = this.#knownIds()
      const found: DirectConnection[] = []
      for (const pod of this.#pods.values()) {
        found.push(...(await listDirect(this.#sweepParts(), pod, (id) => ids.uidOf(id) ?? '')))
      }
      return found
    })
  }

  endDirect(connections: readonly DirectConnection[], reason: Reason): Promise<number> {
    if (connections.length === 0) return Promise.resolve(0)
    return this.#inTurn(() => {
      const uids = new Set(connections.map(({ sourceUid }) => sourceUid))
      const all = [...this.#pods.values()]
      const pods = uids.has('') ? all : all.filter(({ uid }) => uids.has(uid))
      return endSockets(this.#sweepParts(), pods, connections, REASONS[reason].number)
    })
  }

  onDirectClosed(handler: (entry: AccessEntry) => void): void {
    this.#reports.subscribe(handler)
  }

  counters(): Readonly<Record<string, number>> {
    return readCounters(this.#programs.map('weft_counters'))
  }

  liveByWorker(): readonly number[] {
    return readLive(this.#programs.map('weft_workers'))
  }

  listeningPorts(): ReadonlyMap<string, readonly number[]> {
    const found = readListening(this.#programs.map('weft_listening'))
    const pods = [...this.#pods.values()]
    return new Map(pods.map(({ uid, namespace }) => [uid, found.get(namespace.cookie) ?? []]))
  }

  stop(mode: 'keep' | 'remove'): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#ids === undefined) return
      this.#reports.stop()
      await this.#hosts?.stop(mode)
      this.#hosts = undefined
      if (mode === 'remove') {
        for (const uid of [...this.#pods.keys()]) await this.#withdraw(uid)
        await this.#collect(() => true)
        this.#programs.remove()
        this.#ids.remove()
      } else {
        for (const pod of this.#pods.values()) {
          closeListeners(this.#kernel, [...pod.listeners, ...pod.silenced])
        }
        this.#programs.close()
      }
      this.#pods.clear()
      this.#namespace?.close()
      this.#namespace = undefined
      this.#ids = undefined
    })
  }

  async #withdraw(uid: string): Promise<void> {
    await this.#hosts?.leave(uid)
    const state = this.#pods.get(uid)
    if (state === undefined) return
    this.#pods.delete(uid)
    await new Enrolment(this.#enrolmentParts()).leave(state)
  }

  /** Withdraws pods of an agent before this one, of those that this one has not enrolled. */
  async #collect(isWanted: (pod: PinnedPod) => boolean): Promise<number> {
    const known = new Set([...this.#pods.values()].map(({ namespace }) => namespace.cookie))
    const pinned = pinnedPods(this.#kernel, this.#paths.pins, known)
    const chosen = [...pinned, ...this.#replaced].filter(isWanted)
    this.#replaced = this.#replaced.filter((pod) => !chosen.includes(pod))
    await new Enrolment(this.#enrolmentParts()).collect(chosen)
    return chosen.length
  }

  /** Number of the workload that is enrolled in a namespace; 0 when none is. */
  #workloadAt(cookie: bigint): number {
    const pod = this.#programs.map('weft_pods').lookup(cookieKey(cookie))
    return pod === undefined ? 0 : POD.decode(pod).workload
  }

  #publish(wanted: WantedMaps): void {
    const ids = this.#knownIds()
    const uids = uidsOf(wanted)
    const generation = encodeGeneration(wanted, ids.numbersOf(uids))
    publish(this.#kernel, this.#programs.map('weft_generation'), generation)
    this.#current = wanted
    ids.prune(new Set([...uids, ...this.#pods.keys(), ...(this.#hosts?.uids ?? [])]))
  }

  #config() {
    return this.#programs.map('weft_config')
  }

  #knownPlaces(): Places {
    if (this.#places === undefined) throw new MeshError('datapath.state', 'start() must come first')
    return this.#places
  }

  #isEnrolled(uid: string): boolean {
    return this.#pods.has(uid) || this.#hosts?.has(uid) === true
  }

  #knownWorkers(): number {
    if (this.#workers > 0) return this.#workers
    throw new MeshError('datapath.enrol', 'configure() must come before an enrolment')
  }

  #knownHosts(): Hosts {
    if (this.#hosts === undefined) throw new MeshError('datapath.state', 'start() must come first')
    return this.#hosts
  }

  #knownIds(): WorkloadIds {
    if (this.#ids === undefined) throw new MeshError('datapath.state', 'start() must come first')
    return this.#ids
  }

  #sweepParts() {
    return { kernel: this.#kernel, programs: this.#programs }
  }

  #enrolmentParts() {
    return {
      ...this.#sweepParts(),
      log: this.#log,
      agent: this.#knownPlaces().agent,
      pods: join(this.#paths.pins, 'pods'),
      others: [...this.#pods.values()],
    }
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    return this.#serial.run(task)
  }
}
