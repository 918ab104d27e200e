// The mesh's programs in the kernel, as the agent sees them: enrolled pods, generations of rules,
// live direct connections. Everything here is main-thread only.

import type { AccessEntry } from '../model/access-entry.ts'
import type { ListenerClass } from '../model/messages.ts'
import type { Reason } from '../model/reason.ts'
import type { WantedMaps } from '../model/wanted-maps.ts'
import type { KernelForms } from './capability.ts'
import type { Namespace } from './kernel.ts'

export interface DatapathSettings {
  readonly unknown: 'refuse' | 'pass'
  readonly directPath: boolean
  /** Whether port 53 is captured. */
  readonly dns: boolean
  /** Workers whose listeners may be chosen. */
  readonly workers: number
}

export interface DatapathPaths {
  /** A bpffs directory of this agent's own, e.g. /sys/fs/bpf/weft. */
  readonly pins: string
  /** The stable parent cgroup of every agent of this node (weft-agent.slice). */
  readonly agentCgroup: string
  /** The cgroup whose processes are captured. */
  readonly workloadsCgroup: string
  /** A file that keeps the counter of workload ids until reboot. */
  readonly stateDirectory: string
}

export interface PodEnrolment {
  readonly uid: string
  readonly namespace: Namespace
  /** Device inside the pod, usually eth0. */
  readonly device: string
  readonly addresses: readonly string[]
}

/** One listening socket of one worker, in the pod's namespace, unknown to the pod. */
export interface PodListener {
  readonly worker: number
  readonly class: ListenerClass
  readonly fd: number
}

export interface EnrolledPod {
  readonly uid: string
  /** Cookie of its network namespace. */
  readonly cookie: bigint
  /** The kernel's number of the workload; 0 for the node itself. */
  readonly number: number
  readonly listeners: readonly PodListener[]
}

/** A workload that shares the node's network, known by its cgroup. */
export interface HostEnrolment {
  readonly uid: string
  /** Absolute path of its cgroup, which need not exist now: it is known by its name as well. */
  readonly cgroup: string
  /** Addresses of the node. */
  readonly addresses: readonly string[]
  /** Ports that are its own whether or not anybody listens: what the configuration names. */
  readonly ports: readonly number[]
}

/** A port of the node that a host-network workload serves. */
export interface HostPort {
  readonly uid: string
  /** `0.0.0.0` or `::` when it listens at every address. */
  readonly ip: string
  readonly port: number
  readonly listening: boolean
}

/** Ids of maps that workers open by `openWorkerViews`. */
export interface WorkerMapIds {
  /** Original destinations of accepted sockets, by descriptor. */
  readonly origins: number
  /** Resolvers behind questions. */
  readonly asked: number
  /** Ports of host-network workloads. */
  readonly hostPorts: number
}

/** A live connection the kernel completed without the agent, seen from its source. */
export interface DirectConnection {
  readonly socketCookie: bigint
  readonly sourceUid: string
  readonly destinationUid: string
  readonly source: { readonly ip: string; readonly port: number }
  readonly destination: { readonly ip: string; readonly port: number }
  /** What the program asked for: the destination, or a service's virtual address. */
  readonly asked: { readonly ip: string; readonly port: number }
  /** Version of the rules it was judged by. */
  readonly version: number
  /** From the source's point of view, so far. */
  readonly sentBytes: number
  readonly receivedBytes: number
  /** Smoothed round trip, microseconds; 0 when unknown. */
  readonly srttUs: number
  /** CLOCK_MONOTONIC; 0 when unknown. */
  readonly startedNs: bigint
}

export interface Datapath {
  /** Known after `start`. */
  readonly workerMaps: WorkerMapIds
  /** What this kernel takes; known after `start`, throws before. */
  readonly forms: KernelForms
  /** The node's own listeners, open while host-network workloads are enrolled. */
  readonly node: EnrolledPod | undefined
  /** Loads, or takes over what is pinned, and swaps programs atomically. Refuses everything
   * until `configure`; after a restart the settings, rules and pods of before stay in force until
   * they are replaced (captured connections are refused meanwhile). */
  start(): Promise<void>
  configure(settings: DatapathSettings): void
  /** Makes listeners for every worker, attaches lookup and guard, sets routes, and last makes the
   * pod known. Sockets older than this are marked inherited. Nothing remains if it fails. */
  enrol(pod: PodEnrolment): Promise<EnrolledPod>
  /** Makes the workload known by its cgroup: its connections are captured, and the ports it listens
   * on, now and later, are served by the node's listeners, which the first of them opens. Its own
   * `listeners` are those of DNS. Nothing remains if it fails. */
  enrolHost(host: HostEnrolment): Promise<EnrolledPod>
  /** Replaces the host cgroups (absolute paths) whose connections to workloads pass as probes. */
  setProbes(cgroups: readonly string[]): Promise<void>
  hostPorts(): readonly HostPort[]
  /** Ends what is older than the workload's enrolment; returns how many. */
  endInherited(uid: string): Promise<number>
  /** Removes every trace of the pod or host-network workload, and ends direct connections from and to it
   * (`workload-removed`); also when its namespace is gone already. */
  withdraw(uid: string): Promise<void>
  /** Withdraws the pods of an agent before this one that this one has not enrolled; returns how
   * many. `keep` names workloads that are still to be enrolled; what an earlier agent enrolled for
   * them stays, refused, until they are, and then leaves if they are elsewhere by now. */
  withdrawUnclaimed(keep?: ReadonlySet<string>): Promise<number>
  /** Takes a dead worker's listeners out of the choice. */
  silenceWorker(worker: number): void
  /** New listeners for a replacement worker, in every pod, and of the node (`NODE_UID`). */
  reviveWorker(
    worker: number,
  ): Promise<readonly { uid: string; listeners: readonly PodListener[] }[]>
  /** Makes what `wanted` no longer allows denied, before anything new is allowed. */
  applyDenials(wanted: WantedMaps): void
  /** Swaps in the whole generation. */
  applyGeneration(wanted: WantedMaps): void
  liveDirect(): Promise<readonly DirectConnection[]>
  /** Ends connections by socket cookie; both sides see a reset. `reason` goes to their records. */
  endDirect(connections: readonly DirectConnection[], reason: Reason): Promise<number>
  /** Called at the close of every direct connection. */
  onDirectClosed(handler: (entry: AccessEntry) => void): void
  /** Refusals by reason, and other counters, since load. */
  counters(): Readonly<Record<string, number>>
  /** Connections each worker serves now, by worker. */
  liveByWorker(): readonly number[]
  /** Ports that processes of each enrolled pod listen on, by uid. */
  listeningPorts(): ReadonlyMap<string, readonly number[]>
  /** `keep`: pins stay and workloads stay refused (upgrade); `remove`: nothing stays. */
  stop(mode: 'keep' | 'remove'): Promise<void>
}
