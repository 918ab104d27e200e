// Counts every connection of a worker under its flow: once when both ends are there, again when it
// is over; the bytes of open ones when somebody asks. Costs a text and a look into a map for each
// connection, and nothing for each chunk.
import { setImmediate } from 'node:timers/promises'
import type { Clock } from '../base/clock.ts'
import { formatEndpoint } from '../base/ip.ts'
import type { Ending } from '../model/facts.ts'
import type { FlowEnd, FlowLabels, FlowRow, LiveRow, SurveySlice } from '../model/flow.ts'
import { LIMITS } from '../model/limits.ts'
import {
  countsOf,
  type FlowAccount,
  FlowTable,
  type FlowTableLimits,
} from '../telemetry/flow-table.ts'
import { Busiest } from './busiest.ts'
import type { Connection } from './connection.ts'
import { identityOf } from './identity-of.ts'
import type { LiveConnections } from './live.ts'

const TABLE_LIMITS: FlowTableLimits = { named: LIMITS.flowsMax, addresses: LIMITS.addressFlowsMax }

export class FlowBook {
  readonly #clock: Clock
  readonly #table: FlowTable

  constructor(clock: Clock, limits = TABLE_LIMITS) {
    this.#clock = clock
    this.#table = new FlowTable(limits)
  }

  /** Both ends are there. Once, before bytes move. */
  ready(connection: Connection): void {
    const account = this.#account(connection)
    const latencyMs = this.#clock.elapsedMs() - connection.acceptedAtMs
    account.begin(Number.isNaN(latencyMs) ? undefined : latencyMs)
    connection.account = account
  }

  /** It is over, whether or not it ever was ready. Exactly once. */
  closed(connection: Connection, ending: Ending): void {
    const { account } = connection
    if (account === undefined) {
      this.#account(connection).refuse(ending.reason)
      return
    }
    bookBytes(connection, account)
    account.end(ending.reason)
  }

  /** Everything, in slices with turns of the loop between, each after the last was taken. */
  async *survey(live: LiveConnections, connectionsMax: number): AsyncGenerator<SurveySlice> {
    const busiest = await this.#bookAll(live, connectionsMax)
    const nowMs = this.#clock.nowMs()
    let flows: FlowRow[] = []
    for (const row of [...this.#table.rows()]) {
      flows.push(row)
      if (flows.length < LIMITS.surveySliceRows) continue
      yield { ...NOTHING, flows }
      await setImmediate()
      flows = []
    }
    const { others, forgotten } = this.#table
    const open = busiest.taken
    yield {
      flows,
      connections: open.map((connection) => liveRow(connection, nowMs)),
      connectionsLeftOut: busiest.offered - open.length,
      others: others.opened === 0 ? undefined : countsOf(others),
      forgotten,
      isLast: true,
    }
  }

  /** Brings the accounts up to date. What opens meanwhile is left to the next time. */
  async #bookAll(live: LiveConnections, max: number): Promise<Busiest<Connection>> {
    const busiest = new Busiest<Connection>(max)
    let left = live.size
    for (const connection of live) {
      if (left-- === 0) break
      const { account } = connection
      if (account !== undefined) busiest.offer(connection, bookBytes(connection, account))
      if (left % LIMITS.surveyScan === 0) await setImmediate()
    }
    return busiest
  }

  #account(connection: Connection): FlowAccount {
    const labels = (): FlowLabels => labelsOf(connection)
    const isNamed = uidOf(connection, 'source') !== '' && uidOf(connection, 'destination') !== ''
    return this.#table.account(keyOf(connection), isNamed, this.#clock.nowMs(), labels)
  }
}

const NOTHING: SurveySlice = {
  flows: [],
  connections: [],
  connectionsLeftOut: 0,
  others: undefined,
  forgotten: 0,
  isLast: false,
}

/** Adds what moved since the last time; returns how much. */
function bookBytes(connection: Connection, account: FlowAccount): number {
  const { moved } = connection
  if (moved === undefined) return 0
  const sent = moved.sentBytes - connection.countedSentBytes
  const received = moved.receivedBytes - connection.countedReceivedBytes
  account.moved(sent, received)
  connection.countedSentBytes += sent
  connection.countedReceivedBytes += received
  return sent + received
}

type Side = 'source' | 'destination'

function workloadOf(connection: Connection, side: Side): Connection['sourceWorkload'] {
  return side === 'source' ? connection.sourceWorkload : connection.destinationWorkload
}

function uidOf(connection: Connection, side: Side): string {
  const workload = workloadOf(connection, side)
  return workload !== undefined && 'uid' in workload ? workload.uid : ''
}

/** What was proven at this end. Our own end proves what we hold a certificate for, or, where there
 * is no tunnel, who the kernel says it is. */
function identity(connection: Connection, side: Side): string | undefined {
  const told = side === 'source' ? connection.sourceIdentity : connection.destinationIdentity
  if (told !== undefined) return told
  const isOwn = (connection.direction === 'outbound') === (side === 'source')
  const { path } = connection
  if (path !== 'tunnel' && path !== 'self') return undefined
  if (!isOwn && path !== 'self') return undefined
  const workload = workloadOf(connection, side)
  return workload !== undefined && 'uid' in workload ? identityOf(workload) : undefined
}

function keyOf(connection: Connection): string {
  const { direction, path, source, destination, service = '' } = connection
  const from = uidOf(connection, 'source') || source.ip
  const to = uidOf(connection, 'destination') || destination.ip
  const fromIdentity = identity(connection, 'source') ?? ''
  const toIdentity = identity(connection, 'destination') ?? ''
  const { port } = destination
  return `${direction} ${path} ${from} ${fromIdentity} ${to} ${port} ${service} ${toIdentity}`
}

function labelsOf(connection: Connection): FlowLabels {
  const { direction, path, destination, service } = connection
  return {
    direction,
    path,
    source: endOf(connection, 'source'),
    destination: {
      ...endOf(connection, 'destination'),
      port: destination.port,
      ...(service === undefined ? {} : { service }),
    },
  }
}

function endOf(connection: Connection, side: Side): FlowEnd {
  const workload = workloadOf(connection, side)
  const id = identity(connection, side)
  const proven = id === undefined ? {} : { identity: id }
  if (workload !== undefined && 'uid' in workload) {
    const { uid, name, namespace } = workload
    return { uid, workload: name, namespace, ...proven }
  }
  return { ip: connection[side].ip, ...proven }
}

function liveRow(connection: Connection, nowMs: number): LiveRow {
  const { source, destination, endpoint } = connection
  return {
    ...labelsOf(connection),
    sourceAddress: formatEndpoint(source.ip, source.port),
    destinationAddress: endpoint ?? formatEndpoint(destination.ip, destination.port),
    sentBytes: connection.countedSentBytes,
    receivedBytes: connection.countedReceivedBytes,
    ageMs: Math.max(0, nowMs - connection.startedMs),
  }
}
