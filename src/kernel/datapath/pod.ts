// One enrolled pod in the kernel: its listeners, its place in the maps, its lookup and guard.
import { randomInt } from 'node:crypto'
import { existsSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { canonicalIp, parseIp } from '../../base/ip.ts'
import { MeshError } from '../../base/mesh-error.ts'
import { ENROLLED, POD } from '../abi.ts'
import type { KernelForms } from '../capability.ts'
import type { PodEnrolment, PodListener } from '../datapath.ts'
import type { BpfMap, Kernel, Namespace } from '../kernel.ts'
import type { CgroupPlace } from './cgroup.ts'
import { attachClsact } from './clsact.ts'
import { dropLink, linkAt } from './links.ts'
import type { Programs } from './load.ts'
import type { PodDevice } from './network.ts'

/** No address of that family. */
const NONE = '::'
const LINKS = ['lookup', 'guard-pod', 'guard-host'] as const

export interface PodState {
  readonly uid: string
  readonly workload: number
  readonly namespace: Namespace
  readonly ip4: string
  readonly ip6: string
  /** It shares the node's network and address. */
  readonly hostNetwork: boolean
  /** Of workers that may be chosen. */
  listeners: PodListener[]
  /** Of workers that died, kept open while others accept what is queued on them. */
  silenced: PodListener[]
}

/** Throws MeshError `datapath.address` for malformed addresses or two of one family. */
export function podState(pod: PodEnrolment, workload: number): PodState {
  const v4 = pod.addresses.filter((text) => !text.includes(':'))
  const v6 = pod.addresses.filter((text) => text.includes(':'))
  if (v4.length > 1 || v6.length > 1 || pod.addresses.length === 0) {
    throw new MeshError(
      'datapath.address',
      `${pod.uid} has addresses [${pod.addresses.join(', ')}], but needs one, or one per family`,
    )
  }
  const malformed = pod.addresses.find((text) => parseIp(text) === undefined)
  if (malformed !== undefined) {
    throw new MeshError('datapath.address', `${pod.uid}: "${malformed}" is not an IP address`)
  }
  return {
    uid: pod.uid,
    workload,
    namespace: pod.namespace,
    ip4: canonicalIp(v4[0] ?? NONE) ?? NONE,
    ip6: canonicalIp(v6[0] ?? NONE) ?? NONE,
    hostNetwork: false,
    listeners: [],
    silenced: [],
  }
}

/** Throws MeshError `datapath.address`: the kernel finds pods by namespace and by address. */
export function requireDistinct(pod: PodEnrolment, other: PodState): void {
  if (pod.namespace.cookie === other.namespace.cookie) {
    throw new MeshError(
      'datapath.address',
      `${pod.uid} is in the network namespace of ${other.uid}, which is enrolled already`,
    )
  }
  const shared = pod.addresses
    .map((text) => canonicalIp(text))
    .find((ip) => ip !== undefined && (ip === other.ip4 || ip === other.ip6))
  if (shared !== undefined) {
    throw new MeshError('datapath.address', `${pod.uid} has the address ${shared} of ${other.uid}`)
  }
}

export function familiesOf(pod: PodState): (4 | 6)[] {
  const families = [pod.ip4 === NONE ? [] : [4 as const], pod.ip6 === NONE ? [] : [6 as const]]
  return families.flat()
}

export async function attachLookup(
  kernel: Kernel,
  programs: Programs,
  directory: string,
  namespace: Namespace,
): Promise<void> {
  const program = programs.program('lookup', 'weft_lookup')
  await linkAt(kernel, join(directory, 'lookup'), program, {
    matches: (info) => info.netnsInode === namespace.inode,
    attach: () => program.attachNetns(namespace.fd),
  })
}

/** The inner end first: until it stamps, the outer end would drop everything. */
export async function attachGuard(
  kernel: Kernel,
  programs: Programs,
  directory: string,
  guard: {
    readonly pod: PodState
    readonly device: PodDevice
    readonly stamp: number
    readonly agent: CgroupPlace
    readonly form: KernelForms['guard']
  },
): Promise<void> {
  const { pod, device } = guard
  const object = programs.loadGuard(guardConstants(guard))
  try {
    const inner = object.programs.get('weft_guard_pod')
    const outer = object.programs.get('weft_guard_host')
    if (inner === undefined || outer === undefined) {
      throw new MeshError('datapath.load', 'bpf/out/guard.o lacks a program')
    }
    if (guard.form === 'clsact') {
      await attachClsact(directory, { namespace: pod.namespace, device, inner, outer })
      return
    }
    await linkAt(kernel, join(directory, 'guard-pod'), inner, {
      matches: (info) => info.ifindex === device.ifindex,
      attach: () => inner.attachTcx('egress', device.ifindex, pod.namespace.fd),
    })
    await linkAt(kernel, join(directory, 'guard-host'), outer, {
      matches: (info) => info.ifindex === device.hostIfindex,
      attach: () => outer.attachTcx('ingress', device.hostIfindex),
    })
  } finally {
    object.close()
  }
}

function guardConstants(guard: {
  readonly pod: PodState
  readonly device: PodDevice
  readonly stamp: number
  readonly agent: CgroupPlace
}): Record<string, Uint8Array> {
  const stamp = Buffer.alloc(2)
  stamp.writeUInt16LE(guard.stamp)
  const cgroup = Buffer.alloc(8)
  cgroup.writeBigUInt64LE(guard.agent.id)
  const level = Buffer.alloc(4)
  level.writeUInt32LE(guard.agent.level)
  return {
    guard_ip4: ipBytes(guard.pod.ip4),
    guard_ip6: ipBytes(guard.pod.ip6),
    guard_mac: Buffer.from(guard.device.mac.replaceAll(':', ''), 'hex'),
    guard_stamp: stamp,
    guard_agent_cgroup: cgroup,
    guard_agent_level: level,
    guard_ping: Buffer.from([1]),
    guard_dhcp: Buffer.from([1]),
  }
}

function ipBytes(text: string): Uint8Array {
  return parseIp(text) ?? new Uint8Array(16)
}

/** Removes lookup and guard of a pod, also of one whose namespace is gone; of filters only the pins:
 * with a namespace, `detachClsact` comes before. */
export function detachPod(kernel: Kernel, directory: string): void {
  for (const name of LINKS) dropLink(kernel, join(directory, name))
  if (existsSync(directory)) rmdirSync(directory)
}

export function cookieKey(cookie: bigint): Buffer {
  const key = Buffer.alloc(8)
  key.writeBigUInt64LE(cookie)
  return key
}

/** A pod that is known already keeps its stamp: both ends of its guard must agree at all times. */
export function stampOf(known: Buffer | undefined): number {
  const stamp = known === undefined ? 0 : POD.decode(known).flags
  return stamp === 0 ? randomInt(1, 0x1_0000) : stamp
}

export interface EnrolledMaps {
  /** Where workloads are enrolled, by number. */
  readonly enrolled: BpfMap
  /** Whose an address is: what a prober may reach. */
  readonly addresses: BpfMap
}

/** Makes the pod a destination of direct connections and probes, which is the last step of its
 * enrolment. */
export function showEnrolled(maps: EnrolledMaps, pod: PodState): void {
  const { ip4, ip6, workload, namespace } = pod
  const key = numberKey(workload)
  const before = maps.enrolled.lookup(key)
  maps.enrolled.update(key, ENROLLED.encode({ ip4, ip6, netns: namespace.cookie }))
  for (const ip of [ip4, ip6]) if (ip !== NONE) maps.addresses.update(ipBytes(ip), key)
  if (before !== undefined) hideAddresses(maps.addresses, key, before, [ip4, ip6])
  hideEnrolled(maps, namespace.cookie, workload)
}

/** Forgets who is enrolled in a namespace, whatever its number, but for `kept`. The workload may
 * be enrolled elsewhere by now. */
export function hideEnrolled(maps: EnrolledMaps, cookie: bigint, kept?: number): void {
  for (const [key, value] of maps.enrolled.entries()) {
    if (key.readUInt32LE(0) === kept || ENROLLED.decode(value).netns !== cookie) continue
    maps.enrolled.delete(key)
    hideAddresses(maps.addresses, key, value)
  }
}

/** Only those that are not another's by now. */
function hideAddresses(
  addresses: BpfMap,
  number: Buffer,
  place: Buffer,
  kept: readonly string[] = [],
): void {
  const { ip4, ip6 } = ENROLLED.decode(place)
  for (const ip of [ip4, ip6].filter((one) => !kept.includes(one)).map(ipBytes)) {
    if (addresses.lookup(ip)?.equals(number)) addresses.delete(ip)
  }
}

/** Whether a connection may still reach that workload at that address without the agent. */
export function isEnrolledAt(enrolled: BpfMap, workload: number, ip: string): boolean {
  const value = enrolled.lookup(numberKey(workload))
  if (value === undefined) return false
  const place = ENROLLED.decode(value)
  return ip === place.ip4 || ip === place.ip6
}

function numberKey(workload: number): Buffer {
  const key = Buffer.alloc(4)
  key.writeUInt32LE(workload)
  return key
}

export function encodePod(pod: PodState, stamp: number): Buffer {
  return POD.encode({ workload: pod.workload, flags: stamp, ip4: pod.ip4, ip6: pod.ip6 })
}
