// A bounded table of flows: the accounts that connections between the same two workloads share.
// What finds no room shares one account more, so nothing is lost but the names.
import { bucketOf, emptyCounts } from '../base/histogram.ts'
import type { FlowCounts, FlowLabels, FlowRow } from '../model/flow.ts'
import type { Reason } from '../model/reason.ts'

export interface FlowTableLimits {
  /** Flows between workloads. */
  readonly named: number
  /** Flows from or to mere addresses, which programs outside the mesh can make up. */
  readonly addresses: number
}

/** What is counted for one flow. */
export class FlowAccount implements FlowCounts {
  readonly labels: FlowLabels | undefined
  readonly failed: Partial<Record<Reason, number>> = {}
  readonly latency = emptyCounts()
  opened = 0
  open = 0
  sentBytes = 0
  receivedBytes = 0
  usedMs = 0

  constructor(labels: FlowLabels | undefined) {
    this.labels = labels
  }

  /** A connection came to be; `latencyMs` after it was asked for, when that is known. */
  begin(latencyMs: number | undefined): void {
    this.opened++
    this.open++
    if (latencyMs !== undefined) this.measured(latencyMs)
  }

  /** It ended. */
  end(reason: Reason): void {
    this.open--
    if (reason !== 'completed') this.#fail(reason)
  }

  /** One was asked for and never came to be. */
  refuse(reason: Reason): void {
    this.opened++
    this.#fail(reason)
  }

  moved(sentBytes: number, receivedBytes: number): void {
    this.sentBytes += sentBytes
    this.receivedBytes += receivedBytes
  }

  measured(latencyMs: number): void {
    const bucket = bucketOf(latencyMs)
    this.latency[bucket] = (this.latency[bucket] ?? 0) + 1
  }

  #fail(reason: Reason): void {
    this.failed[reason] = (this.failed[reason] ?? 0) + 1
  }
}

/** The share of a full table that is forgotten at once, so that making room is rare. */
const FORGET_SHARE = 0.25

export class FlowTable {
  readonly #limits: FlowTableLimits
  readonly #named = new Map<string, FlowAccount>()
  readonly #addresses = new Map<string, FlowAccount>()
  readonly #others = new FlowAccount(undefined)
  #forgotten = 0

  constructor(limits: FlowTableLimits) {
    this.#limits = limits
  }

  /** Of connections that found no room. */
  get others(): FlowAccount {
    return this.#others
  }

  /** Flows forgotten since the start. */
  get forgotten(): number {
    return this.#forgotten
  }

  get size(): number {
    return this.#named.size + this.#addresses.size
  }

  /** The account for `key`, made on first use; `labels` is called only then, and says the same as
   * the key. */
  account(key: string, isNamed: boolean, nowMs: number, labels: () => FlowLabels): FlowAccount {
    const accounts = isNamed ? this.#named : this.#addresses
    let account = accounts.get(key)
    if (account === undefined) {
      const max = isNamed ? this.#limits.named : this.#limits.addresses
      if (accounts.size >= max) this.#makeRoom(accounts, max)
      if (accounts.size >= max) return this.#others
      account = new FlowAccount(labels())
      accounts.set(key, account)
    }
    account.usedMs = nowMs
    return account
  }

  *rows(): IterableIterator<FlowRow> {
    for (const accounts of [this.#named, this.#addresses]) {
      for (const account of accounts.values()) {
        if (account.labels !== undefined) yield { ...account.labels, ...countsOf(account) }
      }
    }
  }

  /** Forgets those that have nothing open and were used longest ago. */
  #makeRoom(accounts: Map<string, FlowAccount>, max: number): void {
    const idle: (readonly [string, FlowAccount])[] = []
    for (const entry of accounts) if (entry[1].open === 0) idle.push(entry)
    idle.sort(([, a], [, b]) => a.usedMs - b.usedMs)
    const leaving = idle.slice(0, Math.max(1, Math.floor(max * FORGET_SHARE)))
    for (const [key] of leaving) accounts.delete(key)
    this.#forgotten += leaving.length
  }
}

/** A copy that no longer changes. */
export function countsOf(account: FlowCounts): FlowCounts {
  return {
    opened: account.opened,
    open: account.open,
    failed: { ...account.failed },
    sentBytes: account.sentBytes,
    receivedBytes: account.receivedBytes,
    latency: [...account.latency],
  }
}
