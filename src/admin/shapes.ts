// What the admin API answers, as its clients see it: plain data, never keys.
import type { FlowCounts, FlowEnd, FlowLabels, FlowTarget, LiveRow } from '../model/flow.ts'

export interface Status {
  readonly version: string
  readonly node: string
  readonly pid: number
  /** ISO 8601. */
  readonly startedAt: string
  readonly uptimeMs: number
  readonly config: {
    /** 0: none is in force yet. */
    readonly version: number
    /** `last-good`: what is written now has errors, and what was good before stays. */
    readonly state: 'none' | 'in-force' | 'last-good'
    readonly refusal?: string
    readonly issues: readonly { readonly severity: 'error' | 'warning'; readonly text: string }[]
    readonly issuesLeftOut: number
  }
  readonly workers: { readonly wanted: number; readonly alive: readonly number[] }
  readonly kernel: {
    readonly release: string
    readonly forms: Readonly<Record<string, string>>
  }
  readonly workloads: {
    readonly known: number
    readonly local: number
    readonly enrolled: number
  }
  readonly services: number
  readonly policies: number
  readonly certificates: {
    readonly valid: number
    readonly awaited: number
    readonly failing: number
  }
  readonly counters: Readonly<Record<string, number>>
  readonly dns: Readonly<Record<string, number>>
}

export interface WorkloadRow {
  readonly uid: string
  readonly namespace: string
  readonly name: string
  readonly node: string
  readonly identity: string
  readonly addresses: readonly string[]
  readonly network: 'pod' | 'host'
  /** How its processes are found, when the configuration says so. */
  readonly match?: string
  /** Only of workloads of this node. */
  readonly enrolled?: boolean
  readonly why?: string
  readonly listening?: readonly number[]
  readonly services: readonly string[]
  readonly policies: readonly string[]
  /** Whether plaintext is accepted: `strict` accepts none. */
  readonly peerMode: string
  /** Ports for which another mode holds. */
  readonly peerModeByPort: Readonly<Record<string, string>>
  readonly inMesh: boolean
}

export interface Workloads {
  readonly node: string
  readonly workloads: readonly WorkloadRow[]
  readonly leftOut: number
}

interface Placed {
  /** Name of the node it runs on, where that is known. */
  readonly node?: string
}

export interface ConnectionEnds {
  readonly source: FlowEnd & Placed
  readonly destination: FlowTarget & Placed
}

export type FlowShown = Omit<FlowLabels, 'source' | 'destination'> & FlowCounts & ConnectionEnds

export type LiveShown = Omit<LiveRow, 'source' | 'destination'> & ConnectionEnds

export interface Connections {
  readonly node: string
  /** By a clock of the agent that never goes back: differences are durations. */
  readonly atMs: number
  /** Upper bounds of the buckets of `latency`, and one more without bound. */
  readonly latencyBoundsMs: readonly number[]
  readonly flows: readonly FlowShown[]
  readonly flowsLeftOut: number
  /** Connections whose flows found no room in the tables, together. */
  readonly others?: FlowCounts
  /** Flows that were idle and forgotten for newer ones. */
  readonly forgotten: number
  /** Workers that did not answer in time: their part is missing. */
  readonly silentWorkers: readonly number[]
  /** Only when asked for. */
  readonly live?: readonly LiveShown[]
  readonly liveLeftOut?: number
}

export interface CertificateRow {
  readonly identity: string
  readonly state: 'valid' | 'expired' | 'awaited'
  readonly serialNumber?: string
  readonly issuer?: string
  readonly notBefore?: string
  readonly notAfter?: string
  readonly renewAt?: string
  readonly failures: number
  readonly failure?: string
}

export interface Certificates {
  readonly node: string
  readonly certificates: readonly CertificateRow[]
}

export interface Fault {
  readonly error: string
  readonly remedy: string
}
