// Listening, connecting, accepting and ending connections in the fake kernel.
import { formatEndpoint } from '../../base/ip.ts'
import { checkConnect, checkFd, checkInteger, checkListen, checkPort, require } from '../checks.ts'
import { kernelError } from '../errno.ts'
import type {
  Accepted,
  AcceptOptions,
  Acceptor,
  ConnectSpec,
  DestroyFilter,
  Kernel,
  SocketAddress,
} from '../kernel.ts'
import type { FdTable } from './fds.ts'
import type { MapData } from './map-data.ts'
import {
  canonical,
  FakeListener,
  type FakeNamespace,
  isLoopback,
  openListener,
  type Ports,
  toAccepted,
} from './network.ts'
import { asConnection, asSocket, connectPair, type FakeConnection } from './socket.ts'

export interface TcpParts {
  readonly fds: FdTable
  readonly ports: Ports
  readonly namespaces: ReadonlySet<FakeNamespace>
  /** Addresses that swallow every SYN. */
  readonly blackholes: ReadonlySet<string>
  /** undefined: the process's own. EINVAL, EBADF. */
  namespaceOf(fd: number | undefined): FakeNamespace
  nextCookie(): bigint
}

type TcpHalf = Pick<
  Kernel,
  | 'listen'
  | 'connect'
  | 'accept'
  | 'originalDestination'
  | 'socketNetnsCookie'
  | 'setLingerZero'
  | 'clearLingerZero'
  | 'duplicate'
  | 'closeFd'
  | 'destroySockets'
>

export function fakeTcp(parts: TcpParts): TcpHalf {
  const { fds } = parts
  return {
    async listen(spec, namespaceFd) {
      checkListen(spec)
      const cookie = parts.nextCookie()
      return openListener(parts.namespaceOf(namespaceFd), spec, { ports: parts.ports, cookie, fds })
    },
    connect: (spec, namespaceFd) => connect(parts, spec, namespaceFd),
    accept: (fd, options, onAccept) => accept(parts, fd, options, onAccept),
    originalDestination: (fd) => asConnection('getsockopt SO_ORIGINAL_DST', fds, fd).original,
    socketNetnsCookie: (fd) => asSocket('getsockopt SO_NETNS_COOKIE', fds, fd).namespace,
    setLingerZero: (fd) => setLinger(fds, fd, true),
    clearLingerZero: (fd) => setLinger(fds, fd, false),
    duplicate: (fd) => fds.duplicate(fd),
    closeFd: (fd) => fds.close(fd),
    destroySockets: async (filter, namespaceFd) => destroySockets(parts, filter, namespaceFd),
  }
}

function setLinger(fds: TcpParts['fds'], fd: number, zero: boolean): void {
  const socket = asSocket('setsockopt SO_LINGER', fds, fd)
  if (socket instanceof FakeListener) socket.lingerZero = zero
  else if (socket.kind === 'socket') asConnection('setsockopt', fds, fd).stream.lingerZero = zero
}

async function connect(
  parts: TcpParts,
  spec: ConnectSpec,
  namespaceFd: number | undefined,
): Promise<{ fd: number; local: SocketAddress }> {
  const { operation } = checkConnect(spec)
  const canceled = kernelError(operation, 'ECANCELED')
  if (spec.signal?.aborted) throw canceled
  const namespace = parts.namespaceOf(namespaceFd)
  // The answer comes in a later turn, as from the kernel.
  await new Promise((resolve) => setImmediate(resolve))
  if (spec.signal?.aborted) throw canceled
  const remote = { address: canonical('connect', spec.address), port: spec.port }
  const local = chooseLocal(parts, namespace, spec, remote)
  if (parts.blackholes.has(remote.address)) await silence(spec, operation)
  const owner = ownerOf(parts, namespace, remote.address)
  if (owner === undefined) throw kernelError(operation, 'EHOSTUNREACH')
  const listener = owner.listenerFor(remote)
  if (listener === undefined) throw kernelError(operation, 'ECONNREFUSED')
  const [client, server] = connectPair(
    { cookie: parts.nextCookie(), namespace: namespace.cookie, local },
    { cookie: parts.nextCookie(), namespace: owner.cookie, local: remote },
  )
  track(namespace, client)
  track(owner, server)
  listener.push(server)
  return { fd: parts.fds.open(client), local }
}

function chooseLocal(
  parts: TcpParts,
  namespace: FakeNamespace,
  spec: ConnectSpec,
  remote: SocketAddress,
): SocketAddress {
  const { source } = spec
  const given = source && canonical('bind', source.address)
  const any = given === undefined || given === '::' || given === '0.0.0.0'
  if (!any && !namespace.owns(given) && !spec.transparent && !spec.freebind) {
    throw kernelError(`bind ${formatEndpoint(given, source?.port ?? 0)}`, 'EADDRNOTAVAIL')
  }
  const address = any ? namespace.sourceFor(remote.address) : given
  const isTaken = (port: number): boolean => namespace.isTaken(address, port, remote)
  if (source !== undefined && source.port !== 0) {
    if (!isTaken(source.port)) return { address, port: source.port }
    throw kernelError(`bind ${formatEndpoint(address, source.port)}`, 'EADDRINUSE')
  }
  const port = parts.ports.pick(isTaken, spec.portRange)
  if (port === undefined) throw kernelError(`bind ${formatEndpoint(address, 0)}`, 'EADDRINUSE')
  return { address, port }
}

/** Never answers: rejects after the timeout or when cancelled. */
function silence(spec: ConnectSpec, operation: string): Promise<never> {
  return new Promise((_, reject) => {
    const end = (name: 'ETIMEDOUT' | 'ECANCELED') => () => {
      clearTimeout(timer)
      spec.signal?.removeEventListener('abort', canceled)
      reject(kernelError(operation, name))
    }
    const canceled = end('ECANCELED')
    const timer = setTimeout(end('ETIMEDOUT'), spec.timeoutMs)
    spec.signal?.addEventListener('abort', canceled, { once: true })
  })
}

function ownerOf(
  parts: TcpParts,
  namespace: FakeNamespace,
  address: string,
): FakeNamespace | undefined {
  if (isLoopback(address) || namespace.addresses.has(address)) return namespace
  return [...parts.namespaces].find((other) => other.addresses.has(address))
}

function track(namespace: FakeNamespace, connection: FakeConnection): void {
  namespace.connections.add(connection)
  const forget = (): void => void namespace.connections.delete(connection)
  connection.onRelease(forget)
  connection.stream.on('close', forget)
}

function accept(
  parts: TcpParts,
  listenerFd: number,
  options: AcceptOptions,
  onAccept: (accepted: readonly Accepted[]) => void,
): Acceptor {
  checkFd('accept', listenerFd)
  checkInteger('accept: batchMax', options.batchMax, 1, 4096)
  const { fds } = parts
  const listener = asSocket('accept', fds, listenerFd)
  if (!(listener instanceof FakeListener)) throw kernelError('accept', 'EINVAL')
  const map = options.storage && (fds.get('accept', options.storage.fd) as MapData)
  // Its own descriptor keeps the listener open, as the addon's duplicate does.
  const own = fds.duplicate(listenerFd)
  let state: 'running' | 'paused' | 'stopped' = 'running'
  let scheduled = false
  const wake = (): void => {
    if (scheduled || state !== 'running' || !listener.hasWaiting) return
    scheduled = true
    setImmediate(() => {
      scheduled = false
      if (state !== 'running') return
      const batch = listener.take(options.batchMax)
      const accepted = batch.map((one) => toAccepted(fds, one, map && one.storage.get(map)))
      if (accepted.length > 0) onAccept(accepted)
      wake()
    })
  }
  const unwatch = listener.watch(wake)
  wake()
  return {
    pause() {
      if (state === 'running') state = 'paused'
    },
    resume() {
      if (state === 'paused') state = 'running'
      wake()
    },
    stop() {
      if (state === 'stopped') return
      state = 'stopped'
      unwatch()
      fds.close(own)
    },
  }
}

function destroySockets(parts: TcpParts, filter: DestroyFilter, namespaceFd?: number): number {
  const { source, destination, cookies } = filter
  const given = [source?.address, source?.port, destination?.address, destination?.port]
  const bounded = cookies !== undefined || given.some((part) => part !== undefined && part !== 0)
  require('SOCK_DESTROY: neither address, port nor cookie given', bounded, 'EINVAL')
  const matcher = (side: Partial<SocketAddress> | undefined) => {
    const port = checkPort('SOCK_DESTROY', side?.port ?? 0)
    const address = side?.address && canonical('SOCK_DESTROY', side.address)
    return (end: SocketAddress): boolean =>
      (port === 0 || port === end.port) && (address === undefined || address === end.address)
  }
  const [isSource, isDestination] = [matcher(source), matcher(destination)]
  const namespace = parts.namespaceOf(namespaceFd)
  let destroyed = 0
  for (const connection of namespace.connections) {
    const family = connection.local.address.includes(':') ? 6 : 4
    if (family !== (filter.family ?? family) || connection.stream.destroyed) continue
    if (cookies !== undefined && !cookies.includes(connection.cookie)) continue
    if (!isSource(connection.local) || !isDestination(connection.remote)) continue
    connection.stream.abort()
    destroyed++
  }
  return destroyed
}
