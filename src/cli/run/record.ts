// What a `weft run` has made, written down before it is made, so that whoever comes next can take
// it away if the process dies: one JSON file per workload in the state directory.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { markName } from '../../agent/enrolment-marks.ts'
import { MeshError } from '../../base/mesh-error.ts'
import { isAlive, releaseAddress } from './address-pool.ts'
import { emptyCgroup, markVanishes } from './launch.ts'
import { type PodNetwork, removeBridgeIfUnused, removeNetwork } from './network.ts'
import { unregister } from './registration.ts'

export interface RunRecord {
  readonly pid: number
  readonly namespace: string
  readonly name: string
  readonly nodeName: string
  readonly configDirectory: string
  readonly cgroup: string
  /** Absent on the host network. */
  readonly network?: PodNetwork
  /** Claimed from pools; given back with the run. */
  readonly addresses: readonly string[]
  /** Names of services. */
  readonly services: readonly string[]
}

/** How long the agent may take to let go of a workload before its namespace is removed anyway. */
const LEAVE_TIMEOUT_MS = 5_000

export const addressDirectory = (state: string): string => join(state, 'addresses')

export function enrolmentMark(state: string, run: { namespace: string; name: string }): string {
  return join(state, 'enrolled', markName(run.namespace, run.name))
}

/** Claims the workload's name for this process. Throws MeshError `run.name` while another has it. */
export function claimRecord(state: string, record: RunRecord): void {
  const file = recordFile(state, record)
  mkdirSync(join(state, 'runs'), { recursive: true })
  try {
    writeFileSync(file, JSON.stringify(record), { flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    throw new MeshError(
      'run.name',
      `a workload of that name runs already (process ${readRecord(file)?.pid ?? 'unknown'}): ` +
        'give another --name',
    )
  }
}

export function updateRecord(state: string, record: RunRecord): void {
  writeFileSync(recordFile(state, record), JSON.stringify(record))
}

/** Takes away whatever of it exists, in the order in which nothing is seen half gone. */
export async function undoRun(state: string, record: RunRecord): Promise<void> {
  await emptyCgroup(record.cgroup)
  unregister(record.configDirectory, record)
  const mark = enrolmentMark(state, record)
  await markVanishes(mark, LEAVE_TIMEOUT_MS)
  // A dead agent takes none back, and the next run of this name must not believe it.
  rmSync(mark, { force: true })
  if (record.network !== undefined) {
    removeNetwork(record.network)
    removeBridgeIfUnused()
  }
  for (const address of record.addresses) releaseAddress(addressDirectory(state), address)
  rmSync(recordFile(state, record), { force: true })
}

/** Clears away after processes that died; returns how many. */
export async function collectDeadRuns(state: string): Promise<number> {
  const directory = join(state, 'runs')
  if (!existsSync(directory)) return 0
  let collected = 0
  for (const name of readdirSync(directory)) {
    const file = join(directory, name)
    const record = readRecord(file)
    if (record === undefined) rmSync(file, { force: true })
    if (record === undefined || isAlive(record.pid)) continue
    await undoRun(state, record)
    collected++
  }
  return collected
}

function recordFile(state: string, run: { namespace: string; name: string }): string {
  return join(state, 'runs', markName(run.namespace, run.name))
}

/** Undefined for what was not written whole, by a process that died while it wrote. */
function readRecord(file: string): RunRecord | undefined {
  try {
    const value = JSON.parse(readFileSync(file, 'utf8')) as Partial<RunRecord>
    return typeof value.cgroup === 'string' ? (value as RunRecord) : undefined
  } catch {
    return undefined
  }
}
