// Walks the sockets of pods: lists direct connections, marks old ones, ends those that must end.
import { REASONS } from '../../model/reason.ts'
import { LISTED, SOCK_KINDS, TAGGING } from '../abi.ts'
import type { DirectConnection } from '../datapath.ts'
import type { BpfLink, Kernel, Namespace } from '../kernel.ts'
import type { Programs } from './load.ts'
import { cookieKey, isEnrolledAt, type PodState } from './pod.ts'

/** enum TCP_CLOSE. */
const TCP_CLOSE = 7
/** FIN_WAIT1, FIN_WAIT2, LAST_ACK and CLOSING. */
const FIN_SENT: ReadonlySet<number> = new Set([4, 5, 9, 11])
const COOKIE_BYTES = 8

export interface SweepParts {
  readonly kernel: Kernel
  readonly programs: Programs
}

type Iterator =
  | readonly ['sweep', 'weft_list' | 'weft_tag_tcp' | 'weft_tag_udp']
  | readonly ['sweep', 'weft_doom' | 'weft_doom_inherited']
  | readonly ['sweep', 'weft_tag_host' | 'weft_release_host']
  | readonly ['end', 'weft_end' | 'weft_end_inherited']

async function run(
  parts: SweepParts,
  [family, name]: Iterator,
  namespace: Namespace,
): Promise<Buffer> {
  let link: BpfLink | undefined
  try {
    link = parts.programs.program(family, name).attachIter()
    return await parts.kernel.readIter(link, namespace.fd)
  } finally {
    link?.close()
  }
}

/** Marks what is older than now. Only one pod at a time: the programs read one shared entry. */
export async function tagInherited(parts: SweepParts, pod: PodState): Promise<void> {
  const { ip4, ip6, namespace } = pod
  parts.programs
    .map('weft_tagging')
    .update(Buffer.alloc(4), TAGGING.encode({ ip4, ip6, netns: namespace.cookie }))
  await run(parts, ['sweep', 'weft_tag_tcp'], namespace)
  await run(parts, ['sweep', 'weft_tag_udp'], namespace)
}

/** `uidOf` names workloads; '' where a number is not known any more. */
export async function listDirect(
  parts: SweepParts,
  pod: PodState,
  uidOf: (workload: number) => string,
): Promise<DirectConnection[]> {
  const found = await listSockets(parts, pod.namespace)
  return found.filter(isDirect).map((listed) => connectionOf(listed, uidOf))
}

const isDirect = ({ kind, state }: Listed): boolean =>
  kind === SOCK_KINDS.direct && state !== TCP_CLOSE

/** A delivery of the agent has no source of its own number. */
const isDirectServer = ({ kind, source }: Listed): boolean =>
  kind === SOCK_KINDS.accepted && source !== 0

const isClosing = ({ kind, state }: Listed): boolean =>
  (kind === SOCK_KINDS.accepted || kind === SOCK_KINDS.agent) && FIN_SENT.has(state)

type Listed = ReturnType<typeof LISTED.decode>

async function listSockets(parts: SweepParts, namespace: Namespace): Promise<Listed[]> {
  const bytes = await run(parts, ['sweep', 'weft_list'], namespace)
  const found: Listed[] = []
  for (let at = 0; at + LISTED.size <= bytes.length; at += LISTED.size) {
    found.push(LISTED.decode(bytes.subarray(at, at + LISTED.size)))
  }
  return found
}

function connectionOf(listed: Listed, uidOf: (workload: number) => string): DirectConnection {
  const { tuple } = listed
  return {
    socketCookie: listed.cookie,
    sourceUid: uidOf(listed.source),
    destinationUid: uidOf(listed.destination),
    source: { ip: tuple.source, port: tuple.source_port },
    destination: { ip: tuple.destination, port: tuple.destination_port },
    asked: { ip: listed.asked_ip, port: listed.asked_port },
    version: Number(listed.version),
    sentBytes: Number(listed.sent_bytes),
    receivedBytes: Number(listed.received_bytes),
    srttUs: listed.srtt_us,
    startedNs: listed.started_ns,
  }
}

const NAMELESS = (): string => ''
const REMOVED = REASONS['workload-removed'].number

/** Ends direct connections of `pods` whose destination is no longer enrolled; returns how many. */
export async function endStranded(parts: SweepParts, pods: readonly PodState[]): Promise<number> {
  const enrolled = parts.programs.map('weft_enrolled')
  let ended = 0
  for (const pod of pods) {
    const stranded = (await listSockets(parts, pod.namespace)).filter(
      (listed) =>
        isDirect(listed) && !isEnrolledAt(enrolled, listed.destination, listed.tuple.destination),
    )
    if (stranded.length === 0) continue
    const connections = stranded.map((listed) => connectionOf(listed, NAMELESS))
    ended += await endSockets(parts, [pod], connections, REMOVED)
  }
  return ended
}

/**
 * Ends both ends of direct connections that are in the pod's own namespace, and what programs have
 * closed but the agent's half has not acknowledged: without the routes it never will. Other
 * captured and delivered connections are the workers' to end.
 */
export async function endOwn(parts: SweepParts, pod: PodState): Promise<number> {
  const own = (await listSockets(parts, pod.namespace)).filter(
    (listed) => isDirect(listed) || isDirectServer(listed) || isClosing(listed),
  )
  if (own.length === 0) return 0
  const connections = own.map((listed) => connectionOf(listed, NAMELESS))
  return endSockets(parts, [pod], connections, REMOVED)
}

/** Ends sockets by cookie wherever they are among `pods`; returns how many. */
export async function endSockets(
  parts: SweepParts,
  pods: readonly PodState[],
  connections: readonly DirectConnection[],
  reason: number,
): Promise<number> {
  const kill = parts.programs.map('weft_kill')
  const value = Buffer.alloc(4)
  value.writeUInt32LE(reason)
  let ended = 0
  try {
    for (const { socketCookie } of connections) kill.update(cookieKey(socketCookie), value)
    for (const pod of pods) ended += await end(parts, 'weft_end', pod)
  } finally {
    for (const { socketCookie } of connections) kill.delete(cookieKey(socketCookie))
  }
  return ended
}

/** Ends the marked connections of a pod. */
export function endInherited(parts: SweepParts, pod: PodState): Promise<number> {
  return end(parts, 'weft_end_inherited', pod)
}

const NAMING = { weft_end: 'weft_doom', weft_end_inherited: 'weft_doom_inherited' } as const

/** By the program, or by inet_diag what its fellow names; the records tell the reason either way. */
async function end(
  parts: SweepParts,
  ender: keyof typeof NAMING,
  { namespace }: PodState,
): Promise<number> {
  if (parts.programs.forms.end === 'sock_destroy') {
    return (await run(parts, ['end', ender], namespace)).length / COOKIE_BYTES
  }
  const named = await run(parts, ['sweep', NAMING[ender]], namespace)
  const cookies = Array.from({ length: named.length / COOKIE_BYTES }, (_, at) =>
    named.readBigUInt64LE(at * COOKIE_BYTES),
  )
  return parts.kernel.destroySockets({ cookies }, namespace.fd)
}

/** Marks what is older than the enrolment of a host-network workload, and finds its listeners. */
export async function tagHost(parts: SweepParts, host: PodState): Promise<void> {
  aimAt(parts, host)
  await run(parts, ['sweep', 'weft_tag_host'], host.namespace)
}

/** The listeners of a host-network workload serve nobody's ports any more. */
export async function releaseHost(parts: SweepParts, host: PodState): Promise<void> {
  aimAt(parts, host)
  await run(parts, ['sweep', 'weft_release_host'], host.namespace)
}

function aimAt(parts: SweepParts, { ip4, ip6, workload, namespace }: PodState): void {
  const value = TAGGING.encode({ ip4, ip6, workload, netns: namespace.cookie })
  parts.programs.map('weft_tagging').update(Buffer.alloc(4), value)
}

/** Ends the marked connections of one workload among those of the node. */
export async function endInheritedOf(parts: SweepParts, host: PodState): Promise<number> {
  const marked = (await listSockets(parts, host.namespace)).filter(
    ({ kind, source }) => kind === SOCK_KINDS.inherited && source === host.workload,
  )
  const connections = marked.map((listed) => connectionOf(listed, NAMELESS))
  return endSockets(parts, [host], connections, REASONS['enrolled-late'].number)
}
