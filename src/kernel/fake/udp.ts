// UDP sockets of the fake kernel: bound, but nothing travels between them; `dgram` does that.
import { formatEndpoint } from '../../base/ip.ts'
import { checkUdp } from '../checks.ts'
import { kernelError } from '../errno.ts'
import type { Kernel, SocketAddress } from '../kernel.ts'
import type { FdTable } from './fds.ts'
import { canonical, type FakeNamespace, overlaps, type Ports } from './network.ts'
import { FakeSocket, type SocketParts } from './socket.ts'

interface UdpParts {
  readonly fds: FdTable
  readonly ports: Ports
  namespaceOf(fd: number | undefined): FakeNamespace
  nextCookie(): bigint
}

class FakeUdp extends FakeSocket {
  readonly kind = 'udp'
  readonly #v6Only: boolean

  constructor(parts: SocketParts, v6Only: boolean) {
    super(parts)
    this.#v6Only = v6Only
  }

  clashesWith(address: string, port: number, v6Only: boolean): boolean {
    if (this.local.port !== port) return false
    const mixed = this.local.address.includes(':') !== address.includes(':')
    if (mixed && (this.local.address.includes(':') ? this.#v6Only : v6Only)) return false
    return overlaps(this.local.address, address)
  }
}

export function fakeUdp(parts: UdpParts): Pick<Kernel, 'bindUdp'> {
  const bound = new Set<FakeUdp>()
  return {
    async bindUdp(spec, namespaceFd) {
      checkUdp(spec)
      const namespace = parts.namespaceOf(namespaceFd)
      const address = canonical('bind UDP', spec.address)
      const operation = `bind ${formatEndpoint(address, spec.port)}`
      if (!namespace.owns(address) && !spec.freebind) {
        throw kernelError(operation, 'EADDRNOTAVAIL')
      }
      const v6Only = spec.v6Only ?? false
      const there = [...bound].filter((other) => other.namespace === namespace.cookie)
      const isTaken = (port: number): boolean =>
        there.some((other) => other.clashesWith(address, port, v6Only))
      const port = spec.port === 0 ? parts.ports.pick(isTaken) : spec.port
      if (port === undefined || isTaken(port)) throw kernelError(operation, 'EADDRINUSE')
      const local: SocketAddress = { address, port }
      const cookie = parts.nextCookie()
      const socket = new FakeUdp({ cookie, namespace: namespace.cookie, local }, v6Only)
      bound.add(socket)
      socket.onRelease(() => void bound.delete(socket))
      return { fd: parts.fds.open(socket), local }
    },
  }
}
