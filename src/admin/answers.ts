// What the admin API answers at each path, each made at most a few times a second however many
// clients ask.
import type { Clock } from '../base/clock.ts'
import type { AccessEntry } from '../model/access-entry.ts'
import { LIMITS } from '../model/limits.ts'
import { Cached } from './cached.ts'
import { CertificateList } from './certificates.ts'
import { type ConnectionsAsked, connectionsOf } from './connections.ts'
import { DirectFlows } from './direct-flows.ts'
import type { AdminPort, LiveDirect } from './port.ts'
import type { Certificates, Connections, Status, Workloads } from './shapes.ts'
import { statusOf } from './status.ts'
import { workloadsOf } from './workloads.ts'

const KEEP_MS = 200
/** Listing what the kernel holds walks the sockets of every pod. */
const KEEP_DIRECT_MS = 500

export class AdminAnswers {
  readonly status: () => Promise<Status>
  readonly certificates: () => Promise<Certificates>
  readonly #port: AdminPort
  readonly #clock: Clock
  readonly #direct = new DirectFlows()
  readonly #live: Cached<readonly LiveDirect[]>
  readonly #workloads: Record<'all' | 'local', Cached<Workloads>>
  readonly #connections = new Map<string, Cached<Connections>>()

  constructor(port: AdminPort, clock: Clock) {
    this.#port = port
    this.#clock = clock
    const list = new CertificateList()
    const status = this.#cached(async () => statusOf(port, clock.nowMs()))
    const certificates = this.#cached(async () => list.rows(port.about.node, port.certificates()))
    this.status = () => status.get()
    this.certificates = () => certificates.get()
    this.#workloads = {
      all: this.#cached(async () => workloadsOf(port, { all: true })),
      local: this.#cached(async () => workloadsOf(port, { all: false })),
    }
    this.#live = new Cached(() => this.#listLive(), clock, KEEP_DIRECT_MS)
  }

  /** To be told of every direct connection that ended or was refused; workloads named by uid. */
  directClosed(entry: AccessEntry): void {
    this.#direct.closed(entry, this.#port.tables(), this.#clock.nowMs())
  }

  workloads(asked: { readonly all: boolean }): Promise<Workloads> {
    return this.#workloads[asked.all ? 'all' : 'local'].get()
  }

  connections(asked: ConnectionsAsked): Promise<Connections> {
    const key = `${asked.live} ${asked.bothEnds}`
    let cached = this.#connections.get(key)
    if (cached === undefined) {
      cached = this.#cached(() => this.#look(asked))
      this.#connections.set(key, cached)
    }
    return cached.get()
  }

  async #look(asked: ConnectionsAsked): Promise<Connections> {
    const port = this.#port
    const [survey, live] = await Promise.all([
      port.survey(asked.live ? LIMITS.liveRowsMax : 0),
      this.#live.get(),
    ])
    const { node } = port.about
    const atMs = this.#clock.elapsedMs()
    const direct = this.#direct
    return connectionsOf({ node, atMs, survey, live, direct, tables: port.tables() }, asked)
  }

  #listLive(): Promise<readonly LiveDirect[]> {
    this.#direct.listing()
    return this.#port.liveDirect()
  }

  #cached<T>(make: () => Promise<T>): Cached<T> {
    return new Cached(make, this.#clock, KEEP_MS)
  }
}
