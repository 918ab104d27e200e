// The structs of bpf/include/abi.h: the same members in the same order, from which offsets follow
// by C's alignment. A test compares every offset and size with the BTF of the built objects.
import { LIMITS } from '../model/limits.ts'
import type { ListenerClass } from '../model/messages.ts'
import { layout } from './abi-codec.ts'

export const ABI_VERSION = 2

/** The agent marks sockets that deliver into a pod; only those are attested and routed to lo. */
export const DELIVERY_MARK = 0x111

export const SOCK_KINDS = {
  none: 0,
  agent: 1,
  direct: 2,
  accepted: 3,
  pass: 4,
  probe: 5,
  inherited: 6,
  refused: 7,
  dns: 8,
  listens: 9,
} as const

export const LISTENER_CLASSES: Readonly<Record<ListenerClass, number>> = {
  outbound: 1,
  plaintext: 2,
  hbone: 3,
  dns0: 4,
  dns1: 5,
  dns2: 6,
}

/** What a cgroup of the node's own namespace is. */
export const HOST_FLAGS = { probe: 1 } as const

/** Parent of the names of cgroups directly below the root of the hierarchy. */
export const CGROUP_ROOT = 1n

export const RULE_KINDS = { service: 1, backend: 2, verdict: 3 } as const
export const VERDICTS = { agent: 0, allow: 1, deny: 2 } as const
export const EVENTS = { closed: 1, denied: 2 } as const

/** Indices of `weft_counters` that are no reason. */
export const COUNTERS = {
  captured: 64,
  direct: 65,
  local: 66,
  udp_passed: 67,
  unknown_passed: 68,
  unconfigured: 69,
  no_address: 70,
  storage_failed: 71,
  attest_failed: 72,
  attested: 73,
  no_worker: 74,
  capture_foreign: 75,
  events_lost: 76,
  guard_dropped: 77,
  unstamped_dropped: 78,
  spoofed_dropped: 79,
  origin_missing: 80,
  udp_direct: 81,
  dns_captured: 82,
  dns_no_worker: 83,
  dns_no_port: 84,
  probes: 85,
  ports_full: 86,
  ports_taken: 87,
  unadmitted: 88,
} as const
export const COUNTERS_MAX = 96

export const TUPLE = layout('weft_tuple', {
  source: 'ip',
  destination: 'ip',
  source_port: 'be16',
  destination_port: 'be16',
})

export const CONFIG = layout('weft_config', {
  abi: 'u32',
  configured: 'u32',
  unknown_pass: 'u32',
  direct: 'u32',
  workers: 'u32',
  agent_level: 'u32',
  agent_cgroup: 'u64',
  dns: 'u32',
  workloads_level: 'u32',
  workloads_cgroup: 'u64',
  node_netns: 'u64',
})

/** `flags` holds the pod's 16-bit stamp. */
export const POD = layout('weft_pod', { workload: 'u32', flags: 'u32', ip4: 'ip', ip6: 'ip' })

/** Where a workload is enrolled on this node. */
export const ENROLLED = layout('weft_enrolled', { ip4: 'ip', ip6: 'ip', netns: 'u64' })

export const RULE_KEY = layout('weft_rule_key', {
  kind: 'u32',
  a: 'u32',
  b: 'u32',
  c: 'u32',
  ip: 'ip',
})

export const RULE = layout('weft_rule', {
  version: 'u64',
  ip: 'ip',
  value: 'u32',
  count: 'u16',
  port: 'be16',
})

export const SOCK = layout('weft_sock', {
  kind: 'u8',
  established: 'u8',
  port: 'be16',
  source: 'u32',
  destination: 'u32',
  reason: 'u32',
  ip: 'ip',
  version: 'u64',
  started_ns: 'u64',
})

export const ATTEST = layout('weft_attest', {
  cookie: 'u64',
  version: 'u64',
  source: 'u32',
  destination: 'u32',
  kind: 'u32',
  pad: 'u32',
})

export const ORIGIN_KEY = layout('weft_origin_key', { tuple: 'tuple', pad: 'u32', netns: 'u64' })

/** What a worker reads from an accepted socket: where its client wanted to go. */
export const ORIGIN = layout('weft_origin', {
  ip: 'ip',
  port: 'be16',
  pad: 'u16',
  workload: 'u32',
})

export const LISTENER_KEY = layout('weft_listener_key', { ip: 'ip', class: 'u16', worker: 'u16' })

export const LISTENER = layout('weft_listener', {
  worker: 'u32',
  class: 'u16',
  counted: 'u16',
  workload: 'u32',
  pad: 'u32',
})

export const WORKERS = layout('weft_workers', { live: ['u64', LIMITS.workersMax] })
export const COSTS = layout('weft_costs', { cost: ['u32', LIMITS.workersMax] })

export const LISTENING_KEY = layout('weft_listening_key', {
  netns: 'u64',
  port: 'u16',
  family: 'u16',
  pad: 'u32',
})

export const CLOSED = layout('weft_closed', {
  type: 'u32',
  reason: 'u32',
  version: 'u64',
  cookie: 'u64',
  duration_ns: 'u64',
  sent_bytes: 'u64',
  received_bytes: 'u64',
  source: 'u32',
  destination: 'u32',
  srtt_us: 'u32',
  retransmits: 'u32',
  tuple: 'tuple',
  asked_ip: 'ip',
  asked_port: 'be16',
  pad: 'u16',
})

export const DENIED = layout('weft_denied', {
  type: 'u32',
  reason: 'u32',
  version: 'u64',
  source: 'u32',
  destination: 'u32',
  source_ip: 'ip',
  asked_ip: 'ip',
  endpoint_ip: 'ip',
  asked_port: 'be16',
  endpoint_port: 'be16',
  pad: 'u32',
})

export const LISTED = layout('weft_listed', {
  cookie: 'u64',
  version: 'u64',
  tuple: 'tuple',
  source: 'u32',
  destination: 'u32',
  kind: 'u8',
  state: 'u8',
  family: 'u16',
  sent_bytes: 'u64',
  received_bytes: 'u64',
  started_ns: 'u64',
  srtt_us: 'u32',
  asked_port: 'be16',
  pad: 'u16',
  asked_ip: 'ip',
})

export const TAGGING = layout('weft_tagging', {
  ip4: 'ip',
  ip6: 'ip',
  netns: 'u64',
  workload: 'u32',
  pad: 'u32',
})

/** Bytes of a cgroup's name, the ending zero included. */
export const CGROUP_NAME_MAX = 96
/** Cgroups deeper than this are not told apart. */
export const CGROUP_DEPTH_MAX = 10

/** `name` is zero-padded; `parent` is CGROUP_ROOT or `below` of the parent's entry. */
export const HOST_NAME = layout('weft_host_name', { parent: 'u64', name: ['u8', CGROUP_NAME_MAX] })

/** A cgroup of the node's own namespace. */
export const HOST = layout('weft_host', {
  below: 'u64',
  workload: 'u32',
  flags: 'u32',
  ip4: 'ip',
  ip6: 'ip',
})

/** `configured` is 1 for entries that stay without a listener, 0 for those that count them. */
export const PORT_KEY = layout('weft_port_key', { ip: 'ip', port: 'u16', configured: 'u16' })

/** `workload` of an entry whose last listener is closing. */
export const PORT_ENDS = 0xffff_ffff

export const PORT = layout('weft_port', { workload: 'u32', listeners: 'u32' })

/** Value: ORIGIN, the resolver that was asked and the asking workload. */
export const ASKED_KEY = layout('weft_asked_key', {
  netns: 'u64',
  port: 'be16',
  slot: 'u8',
  v4: 'u8',
  pad: 'u32',
})

export const ABI_LAYOUTS = [
  TUPLE,
  CONFIG,
  POD,
  ENROLLED,
  RULE_KEY,
  RULE,
  SOCK,
  ATTEST,
  ORIGIN_KEY,
  ORIGIN,
  LISTENER_KEY,
  LISTENER,
  WORKERS,
  COSTS,
  LISTENING_KEY,
  CLOSED,
  DENIED,
  LISTED,
  TAGGING,
  HOST_NAME,
  HOST,
  PORT_KEY,
  PORT,
  ASKED_KEY,
] as const

/**
 * What the storage of an accepted socket holds: for a captured connection the destination its
 * client asked for and the caller's number; for one that reached the node's own listeners the
 * number of the host-network workload it reached. Undefined when it has none.
 */
export function decodeSockOrigin(
  storage: Uint8Array | undefined,
): { readonly ip: string; readonly port: number; readonly workload: number } | undefined {
  if (storage === undefined) return undefined
  const { ip, port, workload } = ORIGIN.decode(storage)
  return port === 0 ? undefined : { ip, port, workload }
}
