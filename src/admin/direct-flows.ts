// Flows of connections that the kernel completed without a proxy: counted when they end, and
// listed while they are open, so that they are seen like all others. One more thread's account.
import { formatEndpoint } from '../base/ip.ts'
import type { AccessEntry } from '../model/access-entry.ts'
import type { FlowEnd, FlowLabels, LiveRow } from '../model/flow.ts'
import { LIMITS } from '../model/limits.ts'
import type { Tables } from '../model/tables.ts'
import { identityOf } from '../model/workload.ts'
import { FlowTable } from '../telemetry/flow-table.ts'
import { type FlowSum, keyOf } from './flow-sum.ts'
import type { DirectEnd, LiveDirect } from './port.ts'

export class DirectFlows {
  readonly #table = new FlowTable({ named: LIMITS.flowsMax, addresses: LIMITS.addressFlowsMax })
  /** Connections that ended since a listing began, by their ends: they may be in it. */
  #ended = new Set<string>()

  get table(): FlowTable {
    return this.#table
  }

  /** To be called before live connections are listed, so that none counts as open and as ended. */
  listing(): void {
    this.#ended = new Set()
  }

  /** A connection that ended, or was refused; in `entry` workloads are named by uid. */
  closed(entry: AccessEntry, tables: Tables | undefined, nowMs: number): void {
    const { source, destination } = entry
    const ends = { sourceUid: source.workload ?? '', destinationUid: destination.workload ?? '' }
    const labels = labelsOf(ends, source, destination, tables)
    const isNamed = labels.source.uid !== undefined && labels.destination.uid !== undefined
    const account = this.#table.account(keyOf(labels), isNamed, nowMs, () => labels)
    // Refused by the kernel's programs before there was a source port.
    if (source.port === 0) {
      account.refuse(entry.reason)
      return
    }
    this.#note(`${formatEndpoint(source.ip, source.port)} ${destination.endpoint}`)
    if (entry.reason === 'connect-failed') {
      account.refuse(entry.reason)
      return
    }
    account.begin(latencyMs(entry.srttUs ?? 0))
    account.moved(entry.sentBytes, entry.receivedBytes)
    account.end(entry.reason)
  }

  /** Adds ended and open ones to `sum`; returns the open ones with the busiest first. */
  addTo(sum: FlowSum, live: readonly LiveDirect[], tables: Tables | undefined): LiveRow[] {
    for (const row of this.#table.rows()) sum.add(row)
    const rows: LiveRow[] = []
    for (const one of live) {
      const sourceAddress = formatEndpoint(one.source.ip, one.source.port)
      const destinationAddress = formatEndpoint(one.destination.ip, one.destination.port)
      if (this.#ended.has(`${sourceAddress} ${destinationAddress}`)) continue
      const labels = labelsOf(one, one.source, one.asked, tables)
      sum.addOpen(labels, one, latencyMs(one.srttUs))
      const { sentBytes, receivedBytes, ageMs } = one
      const ends = { sourceAddress, destinationAddress }
      rows.push({ ...labels, ...ends, sentBytes, receivedBytes, ageMs })
    }
    const bytes = (row: LiveRow): number => row.sentBytes + row.receivedBytes
    return rows.sort((a, b) => bytes(b) - bytes(a))
  }

  /** Nobody lists for ever: a set that grows means nobody lists at all. */
  #note(ends: string): void {
    if (this.#ended.size < LIMITS.attestMax) this.#ended.add(ends)
  }
}

/** The kernel knows no set-up time; a handshake takes a round trip. */
function latencyMs(srttUs: number): number | undefined {
  return srttUs === 0 ? undefined : srttUs / 1_000
}

interface Uids {
  readonly sourceUid: string
  readonly destinationUid: string
}

function labelsOf(
  { sourceUid, destinationUid }: Uids,
  source: DirectEnd,
  asked: DirectEnd,
  tables: Tables | undefined,
): FlowLabels {
  const key = tables?.serviceByVip.get(asked.ip)
  const service = key === undefined ? undefined : tables?.services.get(key)?.hostname
  return {
    direction: 'outbound',
    path: 'direct',
    source: endOf(sourceUid, source.ip, tables),
    destination: {
      ...endOf(destinationUid, asked.ip, tables),
      port: asked.port,
      ...(service === undefined ? {} : { service }),
    },
  }
}

/** A workload that has left meanwhile keeps its uid as its name. */
function endOf(uid: string, ip: string, tables: Tables | undefined): FlowEnd {
  const workload = tables?.workloads.get(uid)
  if (workload === undefined) return uid === '' ? { ip } : { uid, workload: uid }
  const { name, namespace } = workload
  return { uid, workload: name, namespace, identity: identityOf(workload) }
}
