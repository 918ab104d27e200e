// The data plane of one worker: takes connections from the listeners of its pods, sends each
// through the pipeline and reports its ending. Lives in `agent/worker.ts`.
import { randomInt } from 'node:crypto'
import type { CellBoard } from '../base/cells.ts'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import type { Random } from '../base/random.ts'
import type { IdentityStore, ReplacedHandler } from '../identity/present/identity-store.ts'
import type { Accepted, BpfMap, Kernel } from '../kernel/kernel.ts'
import type { Ending } from '../model/facts.ts'
import type { SurveySlice } from '../model/flow.ts'
import { LIMITS } from '../model/limits.ts'
import { DEFAULT_MESH_SETTINGS } from '../model/mesh-settings.ts'
import type { ListenerHandle, LocalPod } from '../model/messages.ts'
import type { Reason } from '../model/reason.ts'
import type { Tables } from '../model/tables.ts'
import type { AccessLog } from '../telemetry/access-log.ts'
import { DnsMeter } from '../telemetry/dns-cells.ts'
import { ProxyMeter, proxyBoard } from '../telemetry/proxy-cells.ts'
import { Connection } from './connection.ts'
import { type Asked, UdpDoor } from './dns/udp-door.ts'
import { FlowBook } from './flow-book.ts'
import { type HeldByRoot, HostWorkloads, type PortOwner } from './host-workloads.ts'
import { InboundSessions } from './inbound/sessions.ts'
import { LiveConnections } from './live.ts'
import { EndpointChoices } from './outbound/endpoints.ts'
import type { DecodeOrigin } from './outbound/original-destination.ts'
import { type PipelineParts, serveInboundPlaintext, serveOutbound } from './pipeline.ts'
import { PodListeners } from './pod-listeners.ts'
import { accessEntry } from './report.ts'
import { SecurityCache } from './security-cache.ts'
import { SocketStreams } from './stream/socket-stream.ts'
import { TablesView } from './tables-view.ts'
import { NodeTunnels } from './tunnel/node-http2/transport.ts'
import { TunnelPool, type TunnelPoolStats } from './tunnel/pool.ts'

export interface DataPlaneParts {
  readonly kernel: Kernel
  readonly identities: IdentityStore
  readonly log: Log
  readonly accessLog: Pick<AccessLog, 'write' | 'flush'>
  readonly clock: Clock
  readonly random: Random
  readonly decodeOrigin: DecodeOrigin
  /** The sk_storage map that holds original destinations. */
  readonly originStorage?: BpfMap
  /** Which host-network workload serves a port of this node; without it there are none. */
  readonly portOwner?: PortOwner
  /** Which one does listen there; without it whoever serves it. */
  readonly portListener?: PortOwner
  /** Without it nobody holds a port for a workload. */
  readonly heldByRoot?: HeldByRoot
  /** Which resolver a question was sent to; without it nobody answers what comes by UDP. */
  readonly asked?: Asked
  /** Made by `proxyBoard`; the worker writes the row of its number. */
  readonly cells?: CellBoard
}

export interface DataPlaneOptions {
  readonly worker: number
  /** Connections and sessions served at once; `LIMITS.connectionsPerWorkerMax` unless told. */
  readonly connectionsMax?: number
}

export interface DataPlaneStats {
  readonly connections: number
  readonly inboundSessions: number
  readonly tunnels: TunnelPoolStats
}

/** How long the backlog of a dead worker's listener is waited for: handshakes under way. */
const BACKLOG_DRAIN_MS = 1_000

const DNS_IDS = 65_536

export class DataPlane {
  readonly #parts: DataPlaneParts
  readonly #view: TablesView
  readonly #streams: SocketStreams
  readonly #security = new SecurityCache()
  readonly #live = new LiveConnections()
  readonly #flows: FlowBook
  readonly #hosts: HostWorkloads
  readonly #pool: TunnelPool
  readonly #sessions: InboundSessions
  readonly #listeners: PodListeners
  readonly #pipeline: PipelineParts
  readonly #meter: ProxyMeter
  readonly #connectionsMax: number
  readonly #forgetIdentities: () => void

  constructor(parts: DataPlaneParts, options: DataPlaneOptions) {
    const { kernel, clock, random, identities } = parts
    this.#parts = parts
    this.#connectionsMax = options.connectionsMax ?? LIMITS.connectionsPerWorkerMax
    this.#view = new TablesView(clock)
    this.#flows = new FlowBook(clock)
    const { portOwner = () => undefined, portListener, heldByRoot } = parts
    this.#hosts = new HostWorkloads(portOwner, clock, portListener, heldByRoot)
    this.#streams = new SocketStreams(kernel)
    const board = parts.cells ?? proxyBoard(options.worker + 1)
    this.#meter = new ProxyMeter(board, options.worker)
    const transport = new NodeTunnels({ kernel, clock })
    this.#pool = new TunnelPool(
      { transport, clock, onSessions: (by) => this.#meter.sessions('outbound', by) },
      { connectTimeoutMs: () => this.#mesh().connectTimeoutMs },
    )
    this.#pipeline = {
      kernel,
      identities,
      clock,
      random,
      streams: this.#streams,
      tunnels: this.#pool,
      security: this.#security,
      view: this.#view,
      tables: () => this.#tables(),
      choices: new EndpointChoices(),
      decodeOrigin: parts.decodeOrigin,
      flows: this.#flows,
      hosts: this.#hosts,
      dns: new DnsMeter(board, options.worker),
    }
    this.#sessions = new InboundSessions(
      { transport, identities, pipeline: this.#pipeline, meter: this.#meter },
      (connection, serve, abandon) => this.#run(connection, serve, abandon),
      () => this.#full(),
    )
    this.#listeners = new PodListeners(
      {
        kernel,
        ...(parts.originStorage ? { originStorage: parts.originStorage } : {}),
        ...(parts.asked ? { dns: this.#door(parts.asked) } : {}),
      },
      { outbound: this.#outbound, plaintext: this.#plaintext, hbone: this.#sessions.serve },
    )
    this.#forgetIdentities = identities.onReplaced(this.#identityReplaced)
  }

  #door(asked: Asked): UdpDoor {
    const { clock, random, view, choices, security, dns: meter } = this.#pipeline
    const { kernel } = this.#parts
    const newId = (): number => randomInt(DNS_IDS)
    return new UdpDoor({ kernel, clock, random, view, choices, security, meter, newId, asked })
  }

  readonly #identityReplaced: ReplacedHandler = (current, previous) => {
    const removed = previous?.rootsPem.some((root) => !current.rootsPem.includes(root)) ?? false
    if (removed) {
      this.#parts.log.warn('identity.root-removed', { id: current.id })
      this.#pool.closeIdentity(current.id, 'tls-failed')
      this.#sessions.closeIdentity(current.id)
      return
    }
    this.#pool.identityReplaced(current.id, current.serial)
    this.#sessions.identityReplaced(current.id, current.serial)
  }

  /** Connections that began before keep what they were routed by. */
  setTables(tables: Tables): void {
    this.#view.set(tables)
  }

  /** Accepts for a pod. Again for the same pod: further listeners. */
  listen(pod: LocalPod, listeners: readonly ListenerHandle[]): void {
    this.#hosts.add(pod)
    this.#listeners.listen(pod, listeners)
  }

  /** Stops accepting for the pod and ends what it has; resolves when all is closed. */
  async unlisten(uid: string, reason: Reason): Promise<void> {
    this.#listeners.unlisten(uid)
    this.#hosts.remove(uid)
    this.#live.stop(reason, uid)
    this.#pool.closeWorkload(uid, reason)
    this.#sessions.closeWorkload(uid, reason)
    await this.#live.empty(uid)
  }

  /** Takes over what is queued on listeners of a worker that died, then leaves them. */
  drainBacklog(pod: LocalPod, listeners: readonly ListenerHandle[]): Promise<void> {
    const stop = this.#listeners.borrow(pod, listeners)
    return new Promise((resolve) => {
      this.#parts.clock.after(BACKLOG_DRAIN_MS, () => {
        stop()
        resolve()
      })
    })
  }

  /** Ends what the tables in force no longer allow; returns how many. */
  recheck(): number {
    const tables = this.#view.current
    return tables === undefined ? 0 : this.#live.recheck(tables, this.#security)
  }

  /** Stops accepting, says GOAWAY, waits, then forces; returns how many had to be forced. */
  async drain(deadlineMs: number): Promise<number> {
    this.#listeners.stop()
    this.#sessions.retireAll()
    this.#pool.retireAll('draining')
    const late = new Promise<void>((resolve) => {
      this.#parts.clock.after(deadlineMs, resolve)
    })
    await Promise.race([this.#live.empty(), late])
    const forced = this.#live.size
    await this.#endAll()
    return forced
  }

  /** Ends everything at once; resolves when it is closed and reported. */
  async stop(): Promise<void> {
    this.#listeners.stop()
    await this.#endAll()
    this.#forgetIdentities()
    await this.#parts.accessLog.flush()
  }

  /** Sessions too, or their peers would go on opening streams. */
  async #endAll(): Promise<void> {
    this.#live.stop('draining')
    this.#sessions.destroyAll()
    this.#pool.stop('draining')
    await this.#live.empty()
  }

  stats(): DataPlaneStats {
    return {
      connections: this.#live.size,
      inboundSessions: this.#sessions.size,
      tunnels: this.#pool.stats(),
    }
  }

  /** Who talks to whom; at most `connectionsMax` open connections with it. One at a time. */
  survey(connectionsMax: number): AsyncIterable<SurveySlice> {
    return this.#flows.survey(this.#live, connectionsMax)
  }

  readonly #outbound = (pod: LocalPod, accepted: Accepted): void => {
    const connection = this.#connection('outbound', 'tunnel', pod, accepted)
    const client = this.#streams.adoptAccepted(accepted.fd)
    const abort = (): void => client.abort()
    const serve = (): Ending | Promise<Ending> =>
      this.#full() ? overloaded(abort) : serveOutbound(connection, accepted, client, this.#pipeline)
    this.#run(connection, serve, abort)
  }

  readonly #plaintext = (pod: LocalPod, accepted: Accepted): void => {
    const connection = this.#connection('inbound', 'plaintext', pod, accepted)
    const client = this.#streams.adoptAccepted(accepted.fd)
    const abort = (): void => client.abort()
    const serve = (): Ending | Promise<Ending> =>
      this.#full()
        ? overloaded(abort)
        : serveInboundPlaintext(connection, accepted, client, this.#pipeline)
    this.#run(connection, serve, abort)
  }

  #connection(
    direction: 'outbound' | 'inbound',
    path: Connection['path'],
    pod: LocalPod,
    { remote, local }: Accepted,
  ): Connection {
    const source = { ip: remote.address, port: remote.port }
    const destination = { ip: local.address, port: local.port }
    const { clock } = this.#parts
    const ends = { source, destination }
    return new Connection(direction, path, pod, ends, clock.nowMs(), clock.elapsedMs())
  }

  /** The one place where unknown errors of a connection end, and where its ending is reported. */
  #run(connection: Connection, serve: () => Ending | Promise<Ending>, abandon: () => void): void {
    this.#live.add(connection)
    this.#meter.opened(connection.direction)
    void Promise.resolve()
      .then(serve)
      .catch((error: unknown): Ending => {
        const stack = error instanceof Error ? error.stack : undefined
        this.#parts.log.error('proxy.internal', { error: errorText(error), stack })
        connection.stop('internal')
        abandon()
        return { reason: 'internal', detail: errorText(error), sentBytes: 0, receivedBytes: 0 }
      })
      .then((ending) => {
        const entry = accessEntry(connection, ending, this.#parts.clock.nowMs())
        this.#live.remove(connection)
        this.#flows.closed(connection, ending)
        this.#meter.closed(entry)
        this.#parts.accessLog.write(entry)
      })
  }

  #full(): boolean {
    return this.#live.size + this.#sessions.size > this.#connectionsMax
  }

  #tables(): Tables {
    const tables = this.#view.current
    // The pipeline asks only after a workload was found, and workloads are found in tables.
    if (tables === undefined) throw new Error('no tables yet')
    return tables
  }

  #mesh(): Tables['mesh'] {
    return this.#view.current?.mesh ?? DEFAULT_MESH_SETTINGS
  }
}

function overloaded(refuse: () => void): Ending {
  refuse()
  const detail = 'this worker serves as many connections as it may'
  return { reason: 'overloaded', detail, sentBytes: 0, receivedBytes: 0 }
}
