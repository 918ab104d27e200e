// The headers of CONNECT requests and responses. Source: ztunnel `proxy/outbound.rs` and
// `baggage.rs`; names and order are theirs, because dashboards read them.
import { formatEndpoint } from '../../base/ip.ts'
import type { Random } from '../../base/random.ts'
import type { Workload } from '../../model/workload.ts'

export interface TunnelCall {
  readonly source: Workload
  readonly client: { readonly ip: string; readonly port: number }
  /** Hostname of the service that was called, if it was one. */
  readonly service: string | undefined
}

export function requestHeaders(call: TunnelCall, random: Random): Record<string, string> {
  const client = `for="${formatEndpoint(call.client.ip, call.client.port)}"`
  return {
    baggage: baggage(call.source),
    forwarded: call.service === undefined ? client : `${client};host=${call.service}`,
    traceparent: traceparent(random),
  }
}

const BAGGAGE = new WeakMap<Workload, string>()

/** Empty fields are left out; values are not percent-encoded, as ztunnel sends them. */
export function baggage(workload: Workload): string {
  const held = BAGGAGE.get(workload)
  if (held !== undefined) return held
  const fields: readonly (readonly [string, string])[] = [
    ['k8s.cluster.name', workload.clusterId],
    ['k8s.namespace.name', workload.namespace],
    [`k8s.${workload.workloadType}.name`, workload.workloadName],
    ['service.name', workload.canonicalName],
    ['service.version', workload.canonicalRevision],
    ['cloud.region', workload.locality.region],
    ['cloud.availability_zone', workload.locality.zone],
  ]
  const text = fields
    .filter(([, value]) => value !== '')
    .map(([name, value]) => `${name}=${headerSafe(value)}`)
    .join(',')
  BAGGAGE.set(workload, text)
  return text
}

/** W3C Trace Context, version 00, not sampled. */
function traceparent(random: Random): string {
  return `00-${hex(random)}${hex(random)}${hex(random)}${hex(random)}-${hex(random)}${hex(random)}-00`
}

/** Eight digits, not all zero. */
function hex(random: Random): string {
  const value = Math.floor(random() * 0xffff_ffff) + 1
  return value.toString(16).padStart(8, '0').slice(-8)
}

/** Values come from resources that users write; what no header may hold becomes a dash. */
function headerSafe(value: string): string {
  return value.replace(/[^\x21-\x2b\x2d-\x7e]/g, '-')
}
