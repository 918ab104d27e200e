// What main orders of all workers at once, each waiting until every one has done it.
import type { TablesPatch } from '../model/tables.ts'
import type { WorkerPool } from './worker-pool.ts'

/** What a worker may need beyond the deadline to end what it forces. */
const DRAIN_MARGIN_MS = 10_000

/** Resolves when every worker holds the version. */
export async function sendPatches(
  pool: WorkerPool,
  patches: readonly TablesPatch[],
  version: number,
): Promise<void> {
  const commit = patches.at(-1)
  if (commit === undefined) return
  for (const patch of patches.slice(0, -1)) {
    for (const worker of pool.alive()) pool.tell(worker, { kind: 'patch', patch })
  }
  await pool.askAll({ kind: 'patch', patch: commit }, `applied ${version}`)
}

/** Each call judges every live connection again, and resolves when that is done. */
export function recheckWorkers(pool: WorkerPool): () => Promise<void> {
  let sequence = 0
  return async () => {
    sequence++
    await pool.askAll({ kind: 'recheck', sequence }, `rechecked ${sequence}`)
  }
}

export async function drainWorkers(pool: WorkerPool, deadlineMs: number): Promise<void> {
  const timeoutMs = deadlineMs + DRAIN_MARGIN_MS
  await pool.askAll({ kind: 'drain', deadlineMs }, 'drained', { timeoutMs })
}
