// What happens when a data-plane worker dies: the kernel stops choosing it, another worker takes
// the connections that wait on its listeners, and a replacement is told everything.
import type { Datapath } from '../kernel/datapath.ts'
import type { Applier } from './apply.ts'
import type { Enroller } from './enroller.ts'
import type { IdentityDesk } from './identity-desk.ts'
import { handlesOf, serveFrom } from './serving.ts'
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
    parts.enroller.servings().map((serving) => {
      const { pod } = serving
      const listeners = handlesOf(serving, worker)
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
      const all = parts.enroller.servings()
      await Promise.all(all.map((serving) => serveFrom(parts.pool, worker, serving)))
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
