// What happens when a data-plane worker dies: the kernel stops choosing it, another worker takes
// the connections that wait on its listeners, and a replacement is told everything.
import type { Datapath, PodListener } from '../kernel/datapath.ts'
import type { ListenerHandle, LocalPod } from '../model/messages.ts'
import type { Applier } from './apply.ts'
import type { Enroller, Enrolment } from './enroller.ts'
import type { IdentityDesk } from './identity-desk.ts'
import type { WorkerPool } from './worker-pool.ts'

export interface RecoveryParts {
  readonly datapath: Datapath
  readonly pool: WorkerPool
  readonly enroller: Enroller
  readonly applier: Applier
  readonly identities: IdentityDesk
  /** Runs a task while no configuration is being applied. */
  readonly whileConfigRests: <T>(task: () => Promise<T>) => Promise<T>
}

export async function workerDied(parts: RecoveryParts, worker: number): Promise<void> {
  parts.datapath.silenceWorker(worker)
  const [heir] = parts.pool.alive()
  if (heir === undefined) return
  await Promise.all(
    [...parts.enroller.enrolled.values()].map((enrolment) => {
      const pod = localPod(enrolment)
      const listeners = handlesOf(enrolment.pod.listeners, worker)
      const message = { kind: 'drain-backlog', pod, listeners } as const
      return parts.pool.ask(heir, message, `backlog-drained ${pod.uid}`)
    }),
  )
}

export async function workerReplaced(
  parts: RecoveryParts,
  worker: number,
  serving: () => void,
): Promise<void> {
  await parts.whileConfigRests(() =>
    parts.enroller.exclusive(async () => {
      await tellPatches(parts.pool, worker, parts.applier)
      await parts.identities.giveAll(worker)
      const revived = await parts.datapath.reviveWorker(worker)
      for (const { uid, listeners } of revived) {
        parts.enroller.replaceListeners(uid, worker, listeners)
      }
      // Every pod, not only the revived: one that entered meanwhile has listeners already.
      const all = [...parts.enroller.enrolled.values()]
      await Promise.all(all.map((enrolment) => serveFrom(parts.pool, worker, enrolment)))
      serving()
      // A certificate that was renewed in between went to the others only.
      await parts.identities.giveAll(worker)
    }),
  )
}

async function tellPatches(pool: WorkerPool, worker: number, applier: Applier): Promise<void> {
  const patches = applier.fullPatches()
  for (const patch of patches.slice(0, -1)) pool.tell(worker, { kind: 'patch', patch })
  const commit = patches.at(-1)
  if (commit === undefined) return
  await pool.ask(worker, { kind: 'patch', patch: commit }, `applied ${commit.version}`)
}

/** Resolves when the worker accepts the pod's connections. */
export function serveFrom(pool: WorkerPool, worker: number, enrolment: Enrolment): Promise<void> {
  const pod = localPod(enrolment)
  const listeners = handlesOf(enrolment.pod.listeners, worker)
  return pool.ask(worker, { kind: 'listen', pod, listeners }, `listening ${pod.uid}`)
}

function localPod(enrolment: Enrolment): LocalPod {
  return {
    uid: enrolment.workload.uid,
    namespaceFd: enrolment.namespace.fd,
    netnsCookie: enrolment.pod.cookie,
    addresses: enrolment.workload.addresses,
    number: enrolment.pod.number,
    hostNetwork: enrolment.workload.hostNetwork,
  }
}

function handlesOf(listeners: readonly PodListener[], worker: number): readonly ListenerHandle[] {
  return listeners
    .filter((listener) => listener.worker === worker)
    .map((listener) => ({ class: listener.class, fd: listener.fd }))
}
