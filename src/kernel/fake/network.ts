// The fake kernel's namespaces and which listener a connection reaches. Addresses belong to
// namespaces; every namespace reaches every other, as across one bridge.
import { formatEndpoint, formatIp } from '../../base/ip.ts'
import { checkAddress } from '../checks.ts'
import { kernelError } from '../errno.ts'
import type { Accepted, ListenSpec, SocketAddress } from '../kernel.ts'
import type { FakeFile, FdTable } from './fds.ts'
import { type FakeConnection, FakeSocket, type SocketParts } from './socket.ts'

export interface NamespaceSpec {
  readonly addresses?: readonly string[]
  /** Besides lo, which has index 1; the others follow. */
  readonly devices?: readonly string[]
}

export class FakeNamespace implements FakeFile {
  readonly kind = 'namespace'
  readonly cookie: bigint
  readonly inode: number
  readonly addresses: ReadonlySet<string>
  readonly devices: readonly string[]
  /** What was written below /proc/sys/net. */
  readonly files = new Map<string, string>()
  readonly listeners = new Set<FakeListener>()
  readonly connections = new Set<FakeConnection>()

  constructor(number: number, spec: NamespaceSpec) {
    this.cookie = BigInt(number)
    this.inode = 4_026_531_000 + number
    this.addresses = new Set((spec.addresses ?? []).map((text) => canonical('address', text)))
    this.devices = ['lo', ...(spec.devices ?? [])]
  }

  release(): void {}

  owns(address: string): boolean {
    return isLoopback(address) || isAny(address) || this.addresses.has(address)
  }

  /** The address a connection to `target` comes from when none was chosen. */
  sourceFor(target: string): string {
    if (isLoopback(target) || this.addresses.has(target)) return target
    const v6 = target.includes(':')
    const own = [...this.addresses].find((address) => address.includes(':') === v6)
    if (own === undefined) throw kernelError(`connect to ${target}`, 'ENETUNREACH')
    return own
  }

  listenerFor(target: SocketAddress): FakeListener | undefined {
    const same = [...this.listeners].filter(({ local }) => local.port === target.port)
    return (
      same.find(({ local }) => local.address === target.address) ??
      same.find((listener) => listener.takesAny(target.address))
    )
  }

  /** Whether `port` is bound at `address`, by a listener or towards `remote`. */
  isTaken(address: string, port: number, remote?: SocketAddress): boolean {
    for (const { local } of this.listeners) {
      if (local.port === port && overlaps(local.address, address)) return true
    }
    for (const { local, remote: other } of this.connections) {
      if (local.port !== port || !overlaps(local.address, address)) continue
      if (remote === undefined) return true
      if (other.address === remote.address && other.port === remote.port) return true
    }
    return false
  }
}

export class FakeListener extends FakeSocket {
  readonly kind = 'listener'
  /** Of what it accepts. */
  lingerZero = false
  readonly #v6Only: boolean
  readonly #waiting: FakeConnection[] = []
  readonly #acceptors = new Set<() => void>()

  constructor(parts: SocketParts, v6Only: boolean) {
    super(parts)
    this.#v6Only = v6Only
  }

  takesAny(address: string): boolean {
    if (address.includes(':')) return this.local.address === '::'
    return this.local.address === '0.0.0.0' || (this.local.address === '::' && !this.#v6Only)
  }

  push(connection: FakeConnection): void {
    connection.inherit(this)
    connection.stream.lingerZero = this.lingerZero
    this.#waiting.push(connection)
    for (const wake of this.#acceptors) wake()
  }

  take(max: number): FakeConnection[] {
    return this.#waiting.splice(0, max)
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0
  }

  watch(wake: () => void): () => void {
    this.#acceptors.add(wake)
    return () => void this.#acceptors.delete(wake)
  }

  override release(): void {
    super.release()
    for (const connection of this.#waiting.splice(0)) {
      connection.stream.lingerZero = true
      connection.stream.destroy()
    }
  }
}

/** The number of the first port the kernel would hand out. */
const EPHEMERAL = [32768, 60999] as const

export class Ports {
  #next: number = EPHEMERAL[0]

  /** A free port; with `range` one of it. EADDRINUSE. */
  pick(
    isTaken: (port: number) => boolean,
    [first, last]: readonly [number, number] = EPHEMERAL,
  ): number | undefined {
    const size = last - first + 1
    for (let tries = 0; tries < size; tries++) {
      const port = first + (this.#next++ % size)
      if (!isTaken(port)) return port
    }
    return undefined
  }
}

export function openListener(
  namespace: FakeNamespace,
  spec: ListenSpec,
  parts: { readonly ports: Ports; readonly cookie: bigint; readonly fds: FdTable },
): { fd: number; local: SocketAddress } {
  const address = canonical('listen', spec.address)
  const operation = `bind ${formatEndpoint(address, spec.port)}`
  if (!namespace.owns(address) && !spec.freebind && !spec.transparent) {
    throw kernelError(operation, 'EADDRNOTAVAIL')
  }
  const isTaken = (port: number): boolean => namespace.isTaken(address, port)
  const chosen = spec.port === 0 ? parts.ports.pick(isTaken) : spec.port
  if (chosen === undefined || isTaken(chosen)) throw kernelError(operation, 'EADDRINUSE')
  const local = { address, port: chosen }
  const listener = new FakeListener(
    { cookie: parts.cookie, namespace: namespace.cookie, local },
    spec.v6Only ?? false,
  )
  namespace.listeners.add(listener)
  listener.onRelease(() => void namespace.listeners.delete(listener))
  return { fd: parts.fds.open(listener), local }
}

export function toAccepted(fds: FdTable, connection: FakeConnection, value?: Buffer): Accepted {
  return {
    fd: fds.open(connection),
    remote: connection.remote,
    local: connection.local,
    storage: value && Buffer.from(value),
  }
}

export function canonical(operation: string, text: string): string {
  return formatIp(checkAddress(operation, text))
}

export function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.')
}

function isAny(address: string): boolean {
  return address === '::' || address === '0.0.0.0'
}

export function overlaps(left: string, right: string): boolean {
  if (left === right || left === '::' || right === '::') return true
  return (left === '0.0.0.0' || right === '0.0.0.0') && left.includes(':') === right.includes(':')
}
