// What data-plane workers are told to serve: a workload of this node, or the node itself, whose
// listeners take the connections of every host-network workload.
import type { EnrolledPod, PodListener } from '../kernel/datapath.ts'
import type { Namespace } from '../kernel/kernel.ts'
import { type ListenerHandle, type LocalPod, NODE_UID } from '../model/messages.ts'
import type { TableWorkload } from '../model/tables.ts'
import type { WorkerPool } from './worker-pool.ts'

/** A workload that the kernel knows. */
export interface Enrolment {
  readonly workload: TableWorkload
  /** The node's own for host-network workloads. */
  readonly namespace: Namespace
  readonly pod: EnrolledPod
}

export interface Serving {
  readonly pod: LocalPod
  /** Of all workers. */
  readonly listeners: readonly PodListener[]
}

export function servingOf({ workload, namespace, pod }: Enrolment): Serving {
  return {
    pod: {
      uid: workload.uid,
      namespaceFd: namespace.fd,
      netnsCookie: pod.cookie,
      addresses: workload.addresses,
      number: pod.number,
      hostNetwork: workload.hostNetwork,
    },
    listeners: pod.listeners,
  }
}

/** The node has no address of its own: each connection is of the workload it is from or for. */
export function servingOfNode(node: EnrolledPod, namespace: Namespace): Serving {
  return {
    pod: {
      uid: NODE_UID,
      namespaceFd: namespace.fd,
      netnsCookie: node.cookie,
      addresses: [],
      number: node.number,
      hostNetwork: true,
    },
    listeners: node.listeners,
  }
}

/** Resolves when the worker accepts what arrives at its own listeners among these. */
export function serveFrom(pool: WorkerPool, worker: number, serving: Serving): Promise<void> {
  const { pod } = serving
  const listeners = handlesOf(serving, worker)
  return pool.ask(worker, { kind: 'listen', pod, listeners }, `listening ${pod.uid}`)
}

export function handlesOf({ listeners }: Serving, worker: number): readonly ListenerHandle[] {
  return listeners
    .filter((listener) => listener.worker === worker)
    .map((listener) => ({ class: listener.class, fd: listener.fd }))
}

/** `listeners` in the place of those that the worker had. */
export function withListeners(
  pod: EnrolledPod,
  worker: number,
  listeners: readonly PodListener[],
): EnrolledPod {
  const others = pod.listeners.filter((listener) => listener.worker !== worker)
  return { ...pod, listeners: [...others, ...listeners] }
}
