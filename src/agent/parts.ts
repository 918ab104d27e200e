// The agent's parts and how they know each other: all wiring of the main thread, and nothing else.
import { readlinkSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { CellBoard } from '../base/cells.ts'
import { systemClock, type Timer } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import { systemRandom } from '../base/random.ts'
import { CgroupWatch } from '../discovery/cgroup-watch.ts'
import { Containers } from '../discovery/containers.ts'
import { nodeAddresses } from '../discovery/node-addresses.ts'
import { PathWatch, wayTo } from '../discovery/path-watch.ts'
import type { Authority } from '../identity/issue/authority.ts'
import { CertificateKeeper, type HeldCertificate } from '../identity/issue/keeper.ts'
import type { Datapath } from '../kernel/datapath.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { AccessEntry } from '../model/access-entry.ts'
import type { Registry, Rules } from '../model/registry.ts'
import type { Tables } from '../model/tables.ts'
import { type AccessLog, openAccessLog } from '../telemetry/access-log.ts'
import { proxyBoard } from '../telemetry/proxy-cells.ts'
import type { AddressMemory } from './address-memory.ts'
import { Applier } from './apply.ts'
import { ConfigQueue } from './config-queue.ts'
import { completeDirectEntry } from './direct-log.ts'
import { Enroller } from './enroller.ts'
import { EnrolmentMarks } from './enrolment-marks.ts'
import { isHostOf } from './host-enroller.ts'
import { IdentityDesk } from './identity-desk.ts'
import type { IssueReport } from './issue-report.ts'
import type { LastGood } from './last-good.ts'
import type { AgentOptions } from './options.ts'
import { type RecoveryParts, workerDied, workerReplaced } from './recovery.ts'
import type { ServiceManager } from './service-manager.ts'
import { serveFrom } from './serving.ts'
import { Surveys } from './surveys.ts'
import { Troubles } from './troubles.ts'
import { drainWorkers, recheckWorkers, sendPatches } from './worker-orders.ts'
import { WorkerPool } from './worker-pool.ts'

/** What the parts stand on; made before them. */
export interface Grounds {
  readonly log: Log
  readonly kernel: Kernel
  readonly datapath: Datapath
  readonly authority: Authority
  readonly issues: IssueReport
  readonly memory: LastGood
  readonly manager: ServiceManager
  readonly addresses: AddressMemory
  /** Where cgroup v2 is mounted. */
  readonly cgroup2: string
}

/** Directories below a watched cgroup that are looked at. */
const CGROUP_DEPTH_MAX = 6
const WORKER_HEAP_MAX_MB = 2_048
const COLLECT_MS = 60_000

export class AgentParts {
  readonly accessLog: AccessLog
  readonly pool: WorkerPool
  readonly enroller: Enroller
  readonly config: ConfigQueue
  readonly watch: CgroupWatch
  readonly hostWatch: PathWatch
  readonly surveys = new Surveys(() => this.pool, systemClock)
  readonly troubles = new Troubles()
  readonly #options: AgentOptions
  readonly #grounds: Grounds
  readonly #board: CellBoard
  readonly #keeper: CertificateKeeper
  readonly #identities: IdentityDesk
  readonly #applier: Applier
  #collecting: Timer | undefined

  constructor(options: AgentOptions, grounds: Grounds) {
    const { log } = grounds
    this.#options = options
    this.#grounds = grounds
    this.#board = proxyBoard(options.workers)
    this.accessLog = openAccessLog(options.accessLog)
    this.pool = this.#makePool()
    this.#keeper = this.#makeKeeper()
    this.#identities = new IdentityDesk({
      log,
      pool: () => this.pool,
      wants: this.#keeper,
      onReady: () => void this.enroller.reconcile(),
    })
    this.#applier = this.#makeApplier()
    this.watch = new CgroupWatch(
      { log, onChange: () => void this.enroller.reconcile() },
      { root: options.workloadsCgroup, depthMax: CGROUP_DEPTH_MAX },
    )
    this.hostWatch = new PathWatch(
      { log, onChange: () => void this.enroller.reconcile() },
      { root: grounds.cgroup2 },
    )
    this.enroller = this.#makeEnroller()
    this.config = new ConfigQueue({
      log,
      clock: systemClock,
      refusal: (rules) => this.#refusal(rules),
      apply: (registry, rules) => this.apply(registry, rules),
      report: (issues) => grounds.issues.report('world', issues),
      addresses: grounds.addresses,
      remember: (world) => grounds.memory.remember(world),
    })
  }

  /** Puts a configuration in force, then enrols by it. */
  async apply(registry: Registry, rules: Rules): Promise<void> {
    const tables = await this.#applier.apply(registry, rules)
    this.#grounds.log.info('config.applied', {
      version: tables.version,
      workloads: tables.workloads.size,
      services: tables.services.size,
      policies: tables.policies.size,
    })
    await this.enroller.setTables(tables)
    this.#tellStatus()
  }

  /** Roots or intermediate were replaced: every certificate is issued anew, under what holds now. */
  async renewIdentities(): Promise<void> {
    try {
      // A root that goes is distrusted at once, even if no new certificate can be issued.
      await this.#identities.trust(await this.#grounds.authority.reload())
    } catch (error) {
      this.#grounds.log.error('authority.unreadable', { error: errorText(error) })
    }
    this.#keeper.renewAll()
  }

  /** The authority issues for one trust domain, from its start to its end. */
  #refusal({ mesh }: Rules): string | undefined {
    const now = this.#applier.tables?.mesh.trustDomain
    if (now === undefined || now === mesh.trustDomain) return undefined
    return (
      `MeshConfig: spec.trustDomain changed from ${now} to ${mesh.trustDomain}: ` +
      'restart the agents to take it up; until then the last good configuration stays'
    )
  }

  /** Takes out what an agent before this one enrolled and no workload of this node claims, now
   * and from time to time: their namespaces may end while they are waited for. */
  async collectForgotten(): Promise<void> {
    const { nodeName } = this.#options
    const workloads = [...(this.#applier.tables?.workloads.values() ?? [])]
    const own = workloads.filter(
      (each) => each.node === nodeName && (each.match?.kind !== 'host' || isHostOf(each, nodeName)),
    )
    const { datapath, log } = this.#grounds
    const withdrawn = await datapath.withdrawUnclaimed(new Set(own.map(({ uid }) => uid)))
    if (withdrawn > 0) log.info('enrolment.collected', { withdrawn })
    this.#collecting = systemClock.after(COLLECT_MS, () => {
      this.collectForgotten().catch((error) =>
        log.warn('enrolment.collect-failed', { error: errorText(error) }),
      )
    })
  }

  stopCollecting(): void {
    this.#collecting?.cancel()
  }

  reportDirect(entry: AccessEntry): void {
    this.accessLog.write(completeDirectEntry(entry, this.#applier.tables))
  }

  /** Captured programs are refused at once; open connections get their time. */
  async drain(): Promise<void> {
    this.#keeper.stop()
    for (const worker of this.pool.alive()) this.#grounds.datapath.silenceWorker(worker)
    await drainWorkers(this.pool, this.#applier.tables?.mesh.drainTimeoutMs ?? 0)
  }

  /** The configuration in force; undefined before the first. */
  get tables(): Tables | undefined {
    return this.#applier.tables
  }

  certificates(): readonly HeldCertificate[] {
    return this.#keeper.held()
  }

  status(): Readonly<Record<string, number>> {
    return { ...this.#board.totals(), ...this.#grounds.datapath.counters() }
  }

  #tellStatus(): void {
    const version = this.#applier.tables?.version ?? 0
    const line = `${this.enroller.enrolled.size} workloads enrolled, configuration ${version}`
    void this.#grounds.manager.status(line)
  }

  #makePool(): WorkerPool {
    const { log, datapath } = this.#grounds
    const { workers, nodeName, accessLog } = this.#options
    const data = Array.from({ length: workers }, (_, worker) => ({
      worker,
      workers,
      nodeName,
      accessLog,
      heapMaxMb: WORKER_HEAP_MAX_MB,
      maps: datapath.workerMaps,
      cells: this.#board.buffer,
    }))
    const onDeath = (worker: number): Promise<void> => {
      this.#board.retire(worker)
      return workerDied(this.#recovery(), worker)
    }
    const onReplaced = (worker: number, serving: () => void): Promise<void> =>
      workerReplaced(this.#recovery(), worker, serving)
    const onSurveyed = this.surveys.received
    return new WorkerPool({ log, onDeath, onReplaced, onSurveyed }, data)
  }

  #recovery(): RecoveryParts {
    return {
      datapath: this.#grounds.datapath,
      pool: this.pool,
      enroller: this.enroller,
      applier: this.#applier,
      identities: this.#identities,
      whileConfigRests: (task) => this.config.exclusive(task),
    }
  }

  #makeKeeper(): CertificateKeeper {
    return new CertificateKeeper(
      {
        source: this.#grounds.authority,
        clock: systemClock,
        random: systemRandom,
        log: this.#grounds.log,
        onMaterial: (material) => void this.#identities.receive(material),
      },
      { ttlMs: () => this.#applier.tables?.mesh.certificateTtlMs },
    )
  }

  #makeApplier(): Applier {
    const { datapath, log } = this.#grounds
    const { nodeName, workers } = this.#options
    return new Applier(
      {
        datapath,
        log,
        toWorkers: (patches, version) => sendPatches(this.pool, patches, version),
        recheckWorkers: recheckWorkers(this.pool),
      },
      { nodeName, workers, cgroup2: this.#grounds.cgroup2 },
    )
  }

  #makeEnroller(): Enroller {
    const { kernel, datapath, log, cgroup2 } = this.#grounds
    const { workloadsCgroup } = this.#options
    const { pool } = this
    const marks = new EnrolmentMarks(join(this.#options.stateDirectory, 'enrolled'))
    return new Enroller(
      {
        kernel,
        datapath,
        watch: this.watch,
        containers: new Containers({ log }, { watched: relative(cgroup2, workloadsCgroup) }),
        clock: systemClock,
        log,
        wantIdentity: (id) => this.#identities.want(id),
        forgetIdentity: (id) => this.#identities.forget(id),
        hasIdentity: (id) => this.#identities.isReady(id),
        afterEntering: () => this.#applier.recheckDirect(),
        serve: async (serving) => {
          await Promise.all(pool.alive().map((worker) => serveFrom(pool, worker, serving)))
        },
        unserve: async (uid, reason) => {
          await pool.askAll({ kind: 'unlisten', uid, reason }, `unlistened ${uid}`)
        },
        mark: (workload, enrolled) => {
          marks.set(workload, enrolled)
          this.#tellStatus()
        },
        troubles: this.troubles,
        wayTo: (cgroup) => wayTo(cgroup2, cgroup),
        isNodes: (ip) => nodeAddresses().includes(ip),
        hostWatch: this.hostWatch,
        ownNamespace: () => readlinkSync('/proc/self/ns/net'),
        namespaceOf: (pid) => readlinkSync(`/proc/${pid}/ns/net`),
      },
      { ...this.#options, cgroup2 },
    )
  }
}
