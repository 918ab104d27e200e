// The connections that are alive, with what they were judged by, so that a change of policy ends
// the right ones and says so.
import type { Reason } from '../model/reason.ts'
import type { Tables } from '../model/tables.ts'
import { type LiveConnection, recheck } from '../policy/recheck.ts'
import type { Connection } from './connection.ts'
import type { SecurityCache, Side } from './security-cache.ts'

/** A call to oneself has no other agent that would judge it as its destination's. */
const sideOf = ({ direction, path }: Connection): Side =>
  direction === 'outbound' && path !== 'self' ? 'source' : 'destination'

export class LiveConnections implements Iterable<Connection> {
  readonly #connections = new Set<Connection>()
  readonly #emptyWaiters = new Set<() => void>()

  get size(): number {
    return this.#connections.size
  }

  /** Oldest first; it may change meanwhile. */
  [Symbol.iterator](): IterableIterator<Connection> {
    return this.#connections.values()
  }

  add(connection: Connection): void {
    this.#connections.add(connection)
  }

  remove(connection: Connection): void {
    this.#connections.delete(connection)
    for (const check of this.#emptyWaiters) check()
  }

  /**
   * Ends what the tables no longer allow; returns how many. Connections not judged yet will be, by
   * these tables or later ones.
   */
  recheck(tables: Tables, security: SecurityCache): number {
    let ended = 0
    for (const side of ['destination', 'source'] as const) {
      const endings = recheck(this.#judged(side), tables.version, (uid) => {
        const workload = tables.workloads.get(uid)
        if (workload === undefined) return undefined
        const policies = security.policiesOf(tables, workload, side)
        return { policies, peer: workload.peer }
      })
      for (const { connection, reason, because, by } of endings) {
        connection.live.stop(reason, because === reason ? by : `${because} by ${by}`)
        ended++
      }
    }
    return ended + this.#recheckPassthrough(tables)
  }

  /** Ends all, or those of one workload; returns how many there were. */
  stop(reason: Reason, uid?: string): number {
    let stopped = 0
    for (const connection of [...this.#connections]) {
      if (uid !== undefined && connection.pod.uid !== uid) continue
      connection.stop(reason)
      stopped++
    }
    return stopped
  }

  /** Resolves when none is left, or none of one workload. */
  empty(uid?: string): Promise<void> {
    const isEmpty = (): boolean => {
      if (uid === undefined) return this.#connections.size === 0
      for (const connection of this.#connections) if (connection.pod.uid === uid) return false
      return true
    }
    return new Promise((resolve) => {
      const check = (): void => {
        if (!isEmpty()) return
        this.#emptyWaiters.delete(check)
        resolve()
      }
      this.#emptyWaiters.add(check)
      check()
    })
  }

  *#judged(side: Side): Iterable<LiveConnection & { readonly live: Connection }> {
    for (const live of this.#connections) {
      if (live.judged === undefined || sideOf(live) !== side) continue
      if (live.signal.aborted) continue
      yield { ...live.judged, live }
    }
  }

  #recheckPassthrough(tables: Tables): number {
    if (tables.mesh.outboundTrafficPolicy !== 'registry-only') return 0
    let ended = 0
    for (const connection of this.#connections) {
      if (connection.path !== 'passthrough' || connection.service !== undefined) continue
      if (connection.signal.aborted) continue
      connection.stop('policy-changed', 'outboundTrafficPolicy REGISTRY_ONLY')
      ended++
    }
    return ended
  }
}
