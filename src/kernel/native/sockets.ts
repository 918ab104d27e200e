// Namespaces and TCP sockets of the Kernel port over the addon.
import {
  checkAddress,
  checkConnect,
  checkFd,
  checkListen,
  checkNamespace,
  checkPath,
  checkPort,
  checkUdp,
  require,
} from '../checks.ts'
import { attempt, attemptAsync, kernelError, settled } from '../errno.ts'
import type {
  ConnectSpec,
  DestroyFilter,
  Kernel,
  ListenSpec,
  Namespace,
  SocketAddress,
} from '../kernel.ts'
import { nativeAccept } from './accept.ts'
import type { Addon, RawConnected } from './addon.ts'

type SocketHalf = Omit<
  Kernel,
  | 'loadObject'
  | 'createMap'
  | 'openPinnedMap'
  | 'openMapById'
  | 'openPinnedLink'
  | 'openPinnedProgram'
  | 'structLayout'
  | 'readRing'
  | 'readIter'
  | 'unixListen'
  | 'unixConnect'
>

interface Bound {
  readonly fd: number
  readonly local: SocketAddress
}

export function nativeSockets(addon: Addon): SocketHalf {
  return {
    openNamespace: (path) => openNamespace(addon, path),
    deviceIndex: (name, namespaceFd) =>
      settled((done) =>
        addon.deviceIndex(checkPath('device', name), checkNamespace(namespaceFd), done),
      ),
    writeFileIn: (namespaceFd, path, text) =>
      settled((done) => {
        checkFd('setns', namespaceFd)
        addon.writeFileIn(namespaceFd, checkPath('write', path), text, done)
      }),
    listen: (spec, namespaceFd) => attemptAsync(() => listen(addon, spec, namespaceFd)),
    bindUdp: (spec, namespaceFd) => attemptAsync(() => bindUdp(addon, spec, namespaceFd)),
    connect: (spec, namespaceFd) => attemptAsync(() => connect(addon, spec, namespaceFd)),
    accept: (fd, options, onAccept) => nativeAccept(addon, fd, options, onAccept),
    originalDestination(fd) {
      checkFd('getsockopt SO_ORIGINAL_DST', fd)
      const found = attempt(() => addon.originalDestination(fd))
      return found && { address: found.address, port: found.port }
    },
    socketNetnsCookie(fd) {
      checkFd('getsockopt SO_NETNS_COOKIE', fd)
      return attempt(() => addon.socketNetnsCookie(fd))
    },
    setLingerZero(fd) {
      checkFd('setsockopt SO_LINGER', fd)
      attempt(() => addon.setLingerZero(fd))
    },
    clearLingerZero(fd) {
      checkFd('setsockopt SO_LINGER', fd)
      attempt(() => addon.clearLingerZero(fd))
    },
    duplicate(fd) {
      checkFd('dup', fd)
      return attempt(() => addon.duplicate(fd))
    },
    closeFd(fd) {
      checkFd('close', fd)
      attempt(() => addon.closeFd(fd))
    },
    destroySockets: (filter, namespaceFd) =>
      attemptAsync(() => destroySockets(addon, filter, namespaceFd)),
  }
}

async function openNamespace(addon: Addon, path: string): Promise<Namespace> {
  const { fd, cookie, inode } = await settled<Pick<Namespace, 'fd' | 'cookie' | 'inode'>>((done) =>
    addon.openNamespace(checkPath('open namespace', path), done),
  )
  let open = true
  return {
    fd,
    cookie,
    inode,
    close() {
      if (open) addon.closeOwned(fd)
      open = false
    },
  }
}

async function listen(addon: Addon, spec: ListenSpec, namespaceFd?: number): Promise<Bound> {
  const { ip, backlog } = checkListen(spec)
  const bound = await settled<RawConnected>((done) =>
    addon.listen(
      ip,
      spec.port,
      backlog,
      spec.transparent ?? false,
      spec.freebind ?? false,
      spec.mark ?? 0,
      spec.reuseAddress ?? false,
      spec.v6Only ?? false,
      checkNamespace(namespaceFd),
      done,
    ),
  )
  // From now on the listener is the caller's and outlives this thread.
  addon.takeFd(bound.fd)
  return toBound(bound)
}

async function bindUdp(
  addon: Addon,
  spec: Parameters<Kernel['bindUdp']>[0],
  namespaceFd?: number,
): Promise<Bound> {
  const ip = checkUdp(spec)
  const bound = await settled<RawConnected>((done) =>
    addon.bindUdp(
      ip,
      spec.port,
      spec.freebind ?? false,
      spec.v6Only ?? false,
      checkNamespace(namespaceFd),
      done,
    ),
  )
  addon.takeFd(bound.fd)
  return toBound(bound)
}

async function connect(addon: Addon, spec: ConnectSpec, namespaceFd?: number): Promise<Bound> {
  const { ip, sourceIp, ports, operation } = checkConnect(spec)
  const { signal } = spec
  if (signal?.aborted) throw kernelError(operation, 'ECANCELED')
  let cancel = (): void => {}
  const promise = settled<RawConnected>((done) => {
    const id = addon.connect(
      ip,
      spec.port,
      sourceIp,
      spec.source?.port ?? 0,
      ports?.[0] ?? 0,
      ports?.[1] ?? 0,
      spec.transparent ?? false,
      spec.freebind ?? false,
      spec.mark ?? 0,
      spec.keepAlive?.idleS ?? 0,
      spec.keepAlive?.intervalS ?? 0,
      spec.keepAlive?.probes ?? 0,
      spec.timeoutMs,
      checkNamespace(namespaceFd),
      done,
    )
    cancel = () => addon.connectCancel(id)
  })
  signal?.addEventListener('abort', cancel, { once: true })
  try {
    return toBound(await promise)
  } finally {
    signal?.removeEventListener('abort', cancel)
  }
}

function toBound({ fd, address, port }: RawConnected): Bound {
  return { fd, local: { address, port } }
}

async function destroySockets(
  addon: Addon,
  filter: DestroyFilter,
  namespaceFd?: number,
): Promise<number> {
  const sides = [filter.source, filter.destination].map((side) => {
    const address = side?.address
    const ip = address === undefined ? undefined : checkAddress('SOCK_DESTROY', address)
    return { ip, port: checkPort('SOCK_DESTROY', side?.port ?? 0) }
  })
  const [source, destination] = sides
  // Everything of a namespace is never what was meant.
  const { cookies } = filter
  const bounded = cookies !== undefined || sides.some(({ ip, port }) => ip !== undefined || port)
  require('SOCK_DESTROY: neither address, port nor cookie given', bounded, 'EINVAL')
  if (cookies?.length === 0) return 0
  return settled((done) =>
    addon.destroySockets(
      filter.family ?? 0,
      source?.ip,
      source?.port ?? 0,
      destination?.ip,
      destination?.port ?? 0,
      cookies && new Uint8Array(BigUint64Array.from(cookies).buffer),
      checkNamespace(namespaceFd),
      done,
    ),
  )
}
