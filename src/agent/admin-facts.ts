// What the agent tells its admin API: facts of its parts, as they are when somebody asks.
import type {
  About,
  AdminPort,
  CertificateFacts,
  ConfigFacts,
  EnrolmentFacts,
  LiveDirect,
  SurveyFacts,
} from '../admin/port.ts'
import type { Datapath, DirectConnection } from '../kernel/datapath.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'
import { identityOf } from '../model/workload.ts'
import type { IssueReport } from './issue-report.ts'
import type { AgentParts } from './parts.ts'

export class AdminFacts implements AdminPort {
  readonly about: About
  readonly #parts: AgentParts
  readonly #datapath: Datapath
  readonly #issues: IssueReport
  readonly #workers: number

  constructor(
    about: About,
    parts: {
      readonly agent: AgentParts
      readonly datapath: Datapath
      readonly issues: IssueReport
    },
    options: { readonly workers: number },
  ) {
    this.about = about
    this.#parts = parts.agent
    this.#datapath = parts.datapath
    this.#issues = parts.issues
    this.#workers = options.workers
  }

  config(): ConfigFacts {
    return { issues: this.#issues.standing(), refusal: this.#parts.config.refusal }
  }

  workers(): { readonly wanted: number; readonly alive: readonly number[] } {
    return { wanted: this.#workers, alive: this.#parts.pool.alive() }
  }

  counters(): Readonly<Record<string, number>> {
    return this.#parts.status()
  }

  kernelForms(): Readonly<Record<string, string>> {
    return { ...this.#datapath.forms }
  }

  tables(): Tables | undefined {
    return this.#parts.tables
  }

  enrolment(workload: TableWorkload): EnrolmentFacts {
    const { enroller, troubles } = this.#parts
    if (enroller.has(workload.uid)) return { enrolled: true }
    const known = troubles.of(workload.uid)
    return { enrolled: false, why: known ?? this.#whyNot(workload) }
  }

  listeningPorts(): ReadonlyMap<string, readonly number[]> {
    const ports = new Map(this.#datapath.listeningPorts())
    for (const { uid, port, listening } of this.#datapath.hostPorts()) {
      if (listening) ports.set(uid, [...new Set([...(ports.get(uid) ?? []), port])].sort(ascending))
    }
    return ports
  }

  certificates(): readonly CertificateFacts[] {
    return this.#parts.certificates()
  }

  survey(connectionsMax: number): Promise<SurveyFacts> {
    return this.#parts.surveys.ask(connectionsMax)
  }

  async liveDirect(): Promise<readonly LiveDirect[]> {
    const live = await this.#datapath.liveDirect()
    const nowNs = process.hrtime.bigint()
    return live.map((one) => ({ ...one, ageMs: ageMs(one, nowNs) }))
  }

  /** Enrolment has found no fault, so it waits for one of two things. */
  #whyNot(workload: TableWorkload): string {
    const identity = identityOf(workload)
    const awaited = this.#parts
      .certificates()
      .find(({ id, state }) => id === identity && state === 'awaited')
    if (awaited === undefined)
      return 'no process of it runs in a cgroup that is known to be its own'
    const failure = awaited.failure === undefined ? '' : `: ${awaited.failure}`
    return `waits for its certificate${failure}`
  }
}

const ascending = (a: number, b: number): number => a - b

/** Both clocks are CLOCK_MONOTONIC. */
function ageMs({ startedNs }: DirectConnection, nowNs: bigint): number {
  return startedNs === 0n ? 0 : Math.max(0, Number((nowNs - startedNs) / 1_000_000n))
}
