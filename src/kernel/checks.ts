// Arguments of the Kernel port, checked once for the addon and the fake: the addon asserts what is
// refused here.
import { formatEndpoint, isV4, parseIp } from '../base/ip.ts'
import { type ErrnoName, kernelError } from './errno.ts'
import type { ConnectSpec, ListenSpec, MapSpec, UpdateMode } from './kernel.ts'

export const PORT_MAX = 65535

/** BPF_ANY, BPF_NOEXIST, BPF_EXIST. */
export const UPDATE_FLAGS: Readonly<Record<UpdateMode, number>> = { any: 0, noexist: 1, exist: 2 }

/** Bytes of an IP address, IPv4 v4-mapped. Throws EINVAL. */
export function checkAddress(operation: string, address: string): Uint8Array {
  const bytes = parseIp(address)
  if (bytes === undefined) throw kernelError(`${operation} '${address}'`, 'EINVAL')
  return bytes
}

export function checkPort(operation: string, port: number): number {
  return checkInteger(`${operation}: port`, port, 0, PORT_MAX)
}

export function checkInteger(operation: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value
  throw kernelError(`${operation} ${value} outside ${min}..${max}`, 'EINVAL')
}

/** A descriptor number; `EBADF` as the kernel would say. */
export function checkFd(operation: string, fd: number): number {
  if (Number.isInteger(fd) && fd >= 0 && fd <= 0x7fffffff) return fd
  throw kernelError(operation, 'EBADF')
}

/** undefined is the process's own namespace; a wrong number must never come to mean that. */
export function checkNamespace(fd: number | undefined): number | undefined {
  return fd === undefined ? undefined : checkFd('setns', fd)
}

export function checkLength(operation: string, bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length === length) return bytes
  throw kernelError(`${operation} of ${bytes.length} bytes, expected ${length}`, 'EINVAL')
}

/** A path without a zero byte, which would cut it short. */
export function checkPath(operation: string, path: string): string {
  if (path !== '' && !path.includes('\0')) return path
  throw kernelError(`${operation} '${path.replaceAll('\0', '\\0')}'`, 'EINVAL')
}

export function checkMapSpec(spec: Omit<MapSpec, 'name'>, name: string): void {
  const operation = `bpf(BPF_MAP_CREATE) ${name}`
  for (const size of [spec.keySize, spec.valueSize, spec.maxEntries, spec.flags ?? 0]) {
    checkInteger(operation, size, 0, 0xffffffff)
  }
  const nested = spec.type === 'array_of_maps' || spec.type === 'hash_of_maps'
  if (nested !== (spec.inner !== undefined)) {
    throw kernelError(`${operation}: maps of maps, and only they, have an inner template`, 'EINVAL')
  }
  if (spec.inner !== undefined) checkMapSpec(spec.inner, `${name} (inner)`)
}

export interface ConnectPlan {
  readonly ip: Uint8Array
  readonly sourceIp: Uint8Array | undefined
  readonly ports: readonly [first: number, last: number] | undefined
  /** `connect 10.0.0.1:80`. */
  readonly operation: string
}

export function checkConnect(spec: ConnectSpec): ConnectPlan {
  const ip = checkAddress('connect', spec.address)
  checkPort('connect', spec.port)
  const operation = `connect ${formatEndpoint(spec.address, spec.port)}`
  checkInteger(`${operation}: timeoutMs`, spec.timeoutMs, 1, 0x7fffffff)
  checkInteger(`${operation}: mark`, spec.mark ?? 0, 0, 0xffffffff)
  if (spec.keepAlive !== undefined) {
    const { idleS, intervalS, probes } = spec.keepAlive
    checkInteger(`${operation}: keepAlive.idleS`, idleS, 1, 32767)
    checkInteger(`${operation}: keepAlive.intervalS`, intervalS, 1, 32767)
    checkInteger(`${operation}: keepAlive.probes`, probes, 1, 127)
  }
  if (spec.portRange !== undefined) {
    const [first, last] = spec.portRange
    checkInteger(`${operation}: portRange`, first, 1, PORT_MAX)
    checkInteger(`${operation}: portRange`, last, first, PORT_MAX)
  }
  return { ip, sourceIp: checkSource(operation, ip, spec), ports: spec.portRange, operation }
}

function checkSource(operation: string, ip: Uint8Array, spec: ConnectSpec): Uint8Array | undefined {
  if (spec.source === undefined) {
    if (spec.portRange === undefined) return undefined
    return checkAddress(operation, isV4(ip) ? '0.0.0.0' : '::')
  }
  const sourceIp = checkAddress(`${operation}: source`, spec.source.address)
  checkPort(`${operation}: source`, spec.source.port)
  if (isV4(sourceIp) !== isV4(ip)) {
    throw kernelError(`${operation} from ${spec.source.address}`, 'EAFNOSUPPORT')
  }
  return sourceIp
}

export interface ListenPlan {
  readonly ip: Uint8Array
  readonly backlog: number
}

/** As many as net.core.somaxconn allows by default since 5.4. */
const BACKLOG_DEFAULT = 4096

export function checkListen(spec: ListenSpec): ListenPlan {
  const ip = checkAddress('listen', spec.address)
  checkPort('listen', spec.port)
  checkInteger('listen: mark', spec.mark ?? 0, 0, 0xffffffff)
  const backlog = checkInteger('listen: backlog', spec.backlog ?? BACKLOG_DEFAULT, 0, 0x7fffffff)
  return { ip, backlog }
}

/** Bytes of the address. */
export function checkUdp(spec: Pick<ListenSpec, 'address' | 'port'>): Uint8Array {
  checkPort('bind UDP', spec.port)
  return checkAddress('bind UDP', spec.address)
}

/** Throws with `name` unless `holds`. */
export function require(operation: string, holds: boolean, name: ErrnoName): void {
  if (!holds) throw kernelError(operation, name)
}
