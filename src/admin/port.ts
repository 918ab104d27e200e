// What the admin API needs of an agent: facts as they are now, unshaped. The agent implements it;
// nothing here changes anything.
import type { SurveySlice } from '../model/flow.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'

export interface About {
  readonly version: string
  readonly node: string
  readonly pid: number
  readonly startedMs: number
}

export interface StandingIssue {
  readonly severity: 'error' | 'warning'
  /** File, line, field and remedy. */
  readonly text: string
}

export interface ConfigFacts {
  readonly issues: readonly StandingIssue[]
  /** Why the newest configuration cannot be taken up by a running agent, although it is correct. */
  readonly refusal: string | undefined
}

export interface CertificateFacts {
  readonly id: string
  readonly state: 'valid' | 'expired' | 'awaited'
  /** Leaf first; undefined while the first is awaited. */
  readonly certificateChainPem: string | undefined
  /** When the next one is asked for. */
  readonly renewAtMs: number | undefined
  /** Requests that failed since the last success, and what the last said. */
  readonly failures: number
  readonly failure: string | undefined
}

export type EnrolmentFacts =
  | { readonly enrolled: true }
  | { readonly enrolled: false; readonly why: string }

export interface DirectEnd {
  readonly ip: string
  readonly port: number
}

/** A connection that the kernel completed without a proxy and that is open. */
export interface LiveDirect {
  readonly sourceUid: string
  readonly destinationUid: string
  readonly source: DirectEnd
  readonly destination: DirectEnd
  readonly asked: DirectEnd
  readonly sentBytes: number
  readonly receivedBytes: number
  /** 0 when unknown. */
  readonly srttUs: number
  readonly ageMs: number
}

export interface SurveyFacts {
  readonly slices: readonly SurveySlice[]
  /** Workers whose part is missing. */
  readonly silent: readonly number[]
}

export interface AdminPort {
  readonly about: About
  config(): ConfigFacts
  workers(): { readonly wanted: number; readonly alive: readonly number[] }
  /** By the names of the data plane and of the kernel's programs. */
  counters(): Readonly<Record<string, number>>
  /** Which form of each thing this kernel takes. */
  kernelForms(): Readonly<Record<string, string>>
  /** Undefined before the first configuration. */
  tables(): Tables | undefined
  enrolment(workload: TableWorkload): EnrolmentFacts
  /** By uid, of workloads of this node. */
  listeningPorts(): ReadonlyMap<string, readonly number[]>
  certificates(): readonly CertificateFacts[]
  /** At most `connectionsMax` open connections of each worker. */
  survey(connectionsMax: number): Promise<SurveyFacts>
  liveDirect(): Promise<readonly LiveDirect[]>
}
