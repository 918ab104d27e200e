// Turns records of the ring buffer into access-log entries.
import { formatEndpoint } from '../../base/ip.ts'
import type { AccessEntry } from '../../model/access-entry.ts'
import { REASONS, reasonOfNumber } from '../../model/reason.ts'
import { CLOSED, DENIED, EVENTS } from '../abi.ts'

/**
 * The entry of a direct connection that ended or was refused; undefined for a record of unknown
 * type. Workloads are named by uid.
 */
export function entryOf(
  record: Buffer,
  uidOf: (workload: number) => string | undefined,
): AccessEntry | undefined {
  switch (record.readUInt32LE(0)) {
    case EVENTS.closed:
      return closedEntry(record, uidOf)
    case EVENTS.denied:
      return deniedEntry(record, uidOf)
    default:
      return undefined
  }
}

function closedEntry(record: Buffer, uidOf: (workload: number) => string | undefined): AccessEntry {
  const closed = CLOSED.decode(record)
  const { tuple } = closed
  const reason = reasonOfNumber(closed.reason)
  return {
    direction: 'outbound',
    path: 'direct',
    reason,
    flag: REASONS[reason].flagL4,
    detail: `${closed.retransmits} retransmits`,
    source: { ip: tuple.source, port: tuple.source_port, ...named(uidOf(closed.source)) },
    destination: {
      ip: closed.asked_ip,
      port: closed.asked_port,
      endpoint: formatEndpoint(tuple.destination, tuple.destination_port),
      ...named(uidOf(closed.destination)),
    },
    sentBytes: Number(closed.sent_bytes),
    receivedBytes: Number(closed.received_bytes),
    durationMs: Number(closed.duration_ns / 1_000n) / 1_000,
    srttUs: closed.srtt_us,
    version: Number(closed.version),
  }
}

function deniedEntry(record: Buffer, uidOf: (workload: number) => string | undefined): AccessEntry {
  const denied = DENIED.decode(record)
  const reason = reasonOfNumber(denied.reason)
  return {
    direction: 'outbound',
    path: 'direct',
    reason,
    flag: REASONS[reason].flagL4,
    // Refused before the kernel chose a source port.
    source: { ip: denied.source_ip, port: 0, ...named(uidOf(denied.source)) },
    destination: {
      ip: denied.asked_ip,
      port: denied.asked_port,
      endpoint: formatEndpoint(denied.endpoint_ip, denied.endpoint_port),
      ...named(uidOf(denied.destination)),
    },
    sentBytes: 0,
    receivedBytes: 0,
    durationMs: 0,
    version: Number(denied.version),
  }
}

const named = (uid: string | undefined): { workload?: string } =>
  uid === undefined ? {} : { workload: uid }
