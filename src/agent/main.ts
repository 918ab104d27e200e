// The agent: builds its parts in order, connects them, and takes them down again. Decides nothing;
// the order of a change is in apply.ts, enrolment in enroller.ts, a worker's death in recovery.ts.
import { readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { errorText, MeshError } from '../base/mesh-error.ts'
import { systemRandom } from '../base/random.ts'
import { compileWorld } from '../compile/registry.ts'
import { CgroupWatch } from '../discovery/cgroup-watch.ts'
import { FileSource } from '../discovery/file-source.ts'
import { openAuthority } from '../identity/issue/authority.ts'
import { CertificateKeeper } from '../identity/issue/keeper.ts'
import { openDatapath } from '../kernel/datapath/open.ts'
import type { Datapath } from '../kernel/datapath.ts'
import { nativeKernel } from '../kernel/native.ts'
import type { Registry, Rules } from '../model/registry.ts'
import type { TablesPatch } from '../model/tables.ts'
import { openAccessLog } from '../telemetry/access-log.ts'
import { proxyBoard } from '../telemetry/proxy-cells.ts'
import { Applier } from './apply.ts'
import { enterAgentCgroup, leaveAgentCgroup } from './cgroups.ts'
import { ConfigQueue } from './config-queue.ts'
import { completeDirectEntry } from './direct-log.ts'
import { Enroller } from './enroller.ts'
import { EnrolmentMarks } from './enrolment-marks.ts'
import { IdentityDesk } from './identity-desk.ts'
import { IssueReport } from './issue-report.ts'
import type { AgentOptions } from './options.ts'
import { type RecoveryParts, serveFrom, workerDied, workerReplaced } from './recovery.ts'
import type { WorkerData } from './worker.ts'
import { WorkerPool } from './worker-pool.ts'

/** `remove`: nothing of the mesh stays on the node. `keep`: programs stay pinned, and captured
 * workloads are refused until an agent runs again. */
export type StopMode = 'keep' | 'remove'

export interface Agent {
  stop(mode: StopMode): Promise<void>
  /** Reads the configuration directory again. */
  reload(): void
  /** Counters of all workers together, and the kernel's, since they were made. */
  status(): Readonly<Record<string, number>>
}

type Step = (mode: StopMode) => Promise<void> | void

/** Resolves when the first configuration is in force; rejects with MeshError, everything undone. */
export async function startAgent(options: AgentOptions, log: Log, cgroup2: string): Promise<Agent> {
  const steps: Step[] = []
  const undo = async (mode: StopMode): Promise<void> => {
    for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
      try {
        await step(mode)
      } catch (error) {
        log.error('agent.stop-failed', { error: errorText(error) })
      }
    }
  }
  try {
    return { stop: undo, ...(await build(options, log, cgroup2, steps)) }
  } catch (error) {
    await undo('keep')
    throw error
  }
}

async function build(
  options: AgentOptions,
  log: Log,
  cgroup2: string,
  steps: Step[],
): Promise<Omit<Agent, 'stop'>> {
  // Configuration first: a node with a bad one should not come up half.
  const issues = new IssueReport(log)
  let offer: ((update: { world: Parameters<ConfigQueue['offer']>[0] }) => void) | undefined
  const files = new FileSource(
    {
      log,
      clock: systemClock,
      onChange: (update) => {
        issues.report('files', update.issues)
        offer?.(update)
      },
    },
    { directory: options.configDirectory, debounceMs: 50 },
  )
  const first = await files.start()
  steps.push(() => files.stop())
  issues.report('files', first.issues)
  const compiled = compileWorld(first.world)
  issues.report('world', compiled.issues)
  if (first.refused || compiled.issues.some((issue) => issue.severity === 'error')) {
    throw new MeshError(
      'agent.config',
      `the configuration in ${options.configDirectory} has errors`,
    )
  }

  const leaf = enterAgentCgroup(options.agentCgroup, options.workloadsCgroup)
  steps.push(() => leaveAgentCgroup(leaf, cgroup2))
  const kernel = nativeKernel()
  const datapath = openDatapath(
    { kernel, log },
    {
      pins: options.pins,
      agentCgroup: options.agentCgroup,
      workloadsCgroup: options.workloadsCgroup,
      stateDirectory: options.stateDirectory,
    },
  )
  steps.push((mode) => datapath.stop(mode))
  await datapath.start()

  const authority = await openAuthority({
    directory: options.caDirectory,
    nodeName: options.nodeName,
    trustDomain: compiled.rules.mesh.trustDomain,
    clock: systemClock,
    log,
  })
  steps.push(() => authority.close())
  const connected = connect(options, log, { datapath, kernel, authority, issues })
  const { pool, enroller, config, accessLog } = connected
  steps.push(() => accessLog.close())
  datapath.onDirectClosed((entry) =>
    accessLog.write(completeDirectEntry(entry, connected.applier.tables)),
  )
  steps.push(() => pool.stop())
  await pool.start()
  steps.push((mode) => (mode === 'remove' ? enroller.stop('draining') : undefined))
  steps.push(() => connected.drain())
  await config.exclusive(() => connected.apply(compiled.registry, compiled.rules))
  offer = (update) => config.offer(update.world)
  // What was written while the first configuration was being put in force.
  if (files.current.version !== first.version) config.offer(files.current.world)
  connected.watch.start()
  steps.push(() => connected.watch.stop())
  await enroller.reconcile()
  return {
    reload: () => void files.reload(),
    status: () => ({ ...connected.board.totals(), ...datapath.counters() }),
  }
}

interface Grounds {
  readonly datapath: Datapath & { readonly originMapId: number }
  readonly kernel: ReturnType<typeof nativeKernel>
  readonly authority: Awaited<ReturnType<typeof openAuthority>>
  readonly issues: IssueReport
}

function connect(options: AgentOptions, log: Log, grounds: Grounds) {
  const { datapath, kernel } = grounds
  const marks = new EnrolmentMarks(join(options.stateDirectory, 'enrolled'))
  const board = proxyBoard(options.workers)
  const pool: WorkerPool = new WorkerPool(
    {
      log,
      onDeath: (worker) => {
        board.retire(worker)
        return workerDied(recovery, worker)
      },
      onReplaced: (worker, serving) => workerReplaced(recovery, worker, serving),
    },
    workerData(options, datapath, board.buffer),
  )
  const keeper = new CertificateKeeper(
    {
      source: grounds.authority,
      clock: systemClock,
      random: systemRandom,
      log,
      onMaterial: (material) => void identities.receive(material),
    },
    { ttlMs: () => applier.tables?.mesh.certificateTtlMs },
  )
  const identities = new IdentityDesk({ log, pool: () => pool, wants: keeper })
  const watch = new CgroupWatch(
    { log, onChange: () => void enroller.reconcile() },
    { root: options.workloadsCgroup, depthMax: 4 },
  )
  const applier: Applier = new Applier(
    {
      datapath,
      log,
      toWorkers: (patches, version) => sendPatches(pool, patches, version),
      recheckWorkers: rechecker(pool),
    },
    { nodeName: options.nodeName, workers: options.workers },
  )
  const enroller: Enroller = new Enroller(
    {
      kernel,
      datapath,
      watch,
      clock: systemClock,
      log,
      wantIdentity: (id) => identities.want(id),
      forgetIdentity: (id) => identities.forget(id),
      serve: async (enrolment) => {
        await Promise.all(pool.alive().map((worker) => serveFrom(pool, worker, enrolment)))
      },
      unserve: async (uid, reason) => {
        await pool.askAll({ kind: 'unlisten', uid, reason }, `unlistened ${uid}`)
      },
      mark: (workload, enrolled) => marks.set(workload, enrolled),
      ownNamespace: () => readlinkSync('/proc/self/ns/net'),
      namespaceOf: (pid) => readlinkSync(`/proc/${pid}/ns/net`),
    },
    { nodeName: options.nodeName },
  )
  const apply = async (registry: Registry, rules: Rules): Promise<void> => {
    const tables = await applier.apply(registry, rules)
    log.info('config.applied', {
      version: tables.version,
      workloads: tables.workloads.size,
      services: tables.services.size,
      policies: tables.policies.size,
    })
    await enroller.setTables(tables)
  }
  const config = new ConfigQueue({
    log,
    apply,
    report: (found) => grounds.issues.report('world', found),
  })
  const recovery: RecoveryParts = {
    datapath,
    pool,
    enroller,
    applier,
    identities,
    whileConfigRests: (task) => config.exclusive(task),
  }
  const drain = async (): Promise<void> => {
    const deadlineMs = applier.tables?.mesh.drainTimeoutMs ?? 0
    keeper.stop()
    // Captured programs are refused at once, not after the drain.
    for (const worker of pool.alive()) datapath.silenceWorker(worker)
    await pool.askAll({ kind: 'drain', deadlineMs }, 'drained')
  }
  const accessLog = openAccessLog(options.accessLog)
  return { pool, enroller, config, watch, applier, apply, drain, accessLog, board }
}

function workerData(
  options: AgentOptions,
  datapath: { readonly originMapId: number },
  cells: SharedArrayBuffer,
): readonly WorkerData[] {
  return Array.from({ length: options.workers }, (_, worker) => ({
    worker,
    nodeName: options.nodeName,
    accessLog: options.accessLog,
    heapMaxMb: 2048,
    originMapId: datapath.originMapId,
    workers: options.workers,
    cells,
  }))
}

async function sendPatches(
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

function rechecker(pool: WorkerPool): () => Promise<void> {
  let sequence = 0
  return async () => {
    sequence++
    await pool.askAll({ kind: 'recheck', sequence }, `rechecked ${sequence}`)
  }
}
