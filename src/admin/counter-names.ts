// Names of counters as Prometheus would have them, made from the names the data plane and the
// kernel's programs count under.

/** What the kernel's programs count, under names that say what it means for the mesh. */
const KERNEL_NAMES: Readonly<Record<string, string>> = {
  captured: 'weft_captured_total',
  direct: 'weft_direct_total',
  local: 'weft_local_total',
  udp_passed: 'weft_udp_passthrough_total',
  udp_direct: 'weft_udp_direct_total',
  unknown_passed: 'weft_unknown_passed_total',
  unconfigured: 'weft_unconfigured_refused_total',
  probes: 'weft_probes_attested_total',
  attested: 'weft_attested_total',
  guard_dropped: 'weft_guard_dropped_total',
  unstamped_dropped: 'weft_unstamped_dropped_total',
  spoofed_dropped: 'weft_spoofed_dropped_total',
  events_lost: 'weft_events_lost_total',
}

const GAUGE = /_active$|_in_flight$|^sessions$/

/** Told also while nothing was counted: their absence would read as "not measured". */
const ALWAYS = ['weft_udp_passthrough_total', 'weft_direct_total', 'weft_captured_total']

/**
 * `connections_opened.outbound` is `weft_connections_opened_total{direction="outbound"}`, and
 * `refused:policy-denied` is `weft_refused_total{reason="policy-denied"}`.
 */
export function metricName(name: string): string {
  const known = KERNEL_NAMES[name]
  if (known !== undefined) return known
  const [kind, reason] = name.split(':')
  if (reason !== undefined) return `weft_${kind}_total{reason="${reason}"}`
  // What is counted for all of DNS has no direction.
  const [base = name, direction, flag] = name.replace(/^dns\./, 'dns_').split('.')
  const isGauge = GAUGE.test(base)
  const text = `weft_${base.replaceAll('-', '_')}${isGauge || base.endsWith('_total') ? '' : '_total'}`
  if (direction === undefined) return text
  const labels = [`direction="${direction}"`]
  if (flag !== undefined) labels.push(`response_flags="${flag}"`)
  return `${text}{${labels.join(',')}}`
}

/** Zeros of rare endings are left out. */
export function namedCounters(
  counters: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  const named: Record<string, number> = Object.fromEntries(ALWAYS.map((name) => [name, 0]))
  for (const [name, value] of Object.entries(counters)) {
    if (value !== 0 || !name.includes('closed')) named[metricName(name)] = value
  }
  return named
}

/** Those of DNS, by the names they are counted under. */
export function dnsCounters(
  counters: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(counters).filter(([name]) => /^dns[._]/.test(name)))
}
