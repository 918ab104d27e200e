// Compliance: UDP sockets, bound and kept.
import { NO_FD, openNamespace, rejectsErrno, type Suite, V4, V6 } from './rig.ts'

export const datagramSuite: Suite = {
  async 'UDP sockets are bound in the namespace they were asked for'(t, rig) {
    const { kernel } = rig
    const namespace = await openNamespace(rig)
    for (const address of [V4, V6, '127.0.0.1', '::1']) {
      const { fd, local } = await kernel.bindUdp({ address, port: 0 }, namespace.fd)
      t.is(local.address, address)
      t.true(local.port > 0)
      t.is(kernel.socketNetnsCookie(fd), namespace.cookie)
      kernel.closeFd(fd)
    }
    // Where the process is, the address is another's.
    await rejectsErrno(t, 'EADDRNOTAVAIL', () => kernel.bindUdp({ address: V4, port: 0 }))
    namespace.close()
  },

  async 'a UDP port is taken once, until its last descriptor closes'(t, rig) {
    const { kernel } = rig
    const namespace = await openNamespace(rig)
    const first = await kernel.bindUdp({ address: '127.0.0.1', port: 0 }, namespace.fd)
    const again = () => kernel.bindUdp(first.local, namespace.fd)
    await rejectsErrno(t, 'EADDRINUSE', again, /bind 127.0.0.1:/)
    const every = { ...first.local, address: '0.0.0.0' }
    await rejectsErrno(t, 'EADDRINUSE', () => kernel.bindUdp(every, namespace.fd))
    const both = { ...first.local, address: '::' }
    await rejectsErrno(t, 'EADDRINUSE', () => kernel.bindUdp(both, namespace.fd))
    const only = await kernel.bindUdp({ ...both, v6Only: true }, namespace.fd)
    // TCP has ports of its own.
    const listener = await kernel.listen(first.local, namespace.fd)
    const copy = kernel.duplicate(first.fd)
    kernel.closeFd(first.fd)
    await rejectsErrno(t, 'EADDRINUSE', again)
    kernel.closeFd(copy)
    const second = await again()
    t.deepEqual(second.local, first.local)
    for (const { fd } of [only, listener, second]) kernel.closeFd(fd)
    namespace.close()
  },

  async 'binding UDP where one may not is refused'(t, rig) {
    const { kernel } = rig
    for (const address of ['192.0.2.1', '2001:db8::1']) {
      await rejectsErrno(t, 'EADDRNOTAVAIL', () => kernel.bindUdp({ address, port: 0 }))
      const foreign = await kernel.bindUdp({ address, port: 0, freebind: true })
      t.is(foreign.local.address, address)
      kernel.closeFd(foreign.fd)
    }
    await rejectsErrno(t, 'EINVAL', () => kernel.bindUdp({ address: 'localhost', port: 0 }))
    await rejectsErrno(t, 'EINVAL', () => kernel.bindUdp({ address: '127.0.0.1', port: 65536 }))
    await rejectsErrno(t, 'EBADF', () => kernel.bindUdp({ address: '127.0.0.1', port: 0 }, NO_FD))
  },

  async 'a UDP socket leaves a map of sockets when it closes'(t, rig) {
    const { kernel } = rig
    const sockets = kernel.createMap({
      name: 'weft_sockets',
      type: 'sockhash',
      keySize: 4,
      valueSize: 8,
      maxEntries: 4,
    })
    const { fd } = await kernel.bindUdp({ address: '127.0.0.1', port: 0 })
    sockets.updateFd(Buffer.alloc(4), fd)
    t.is(sockets.keys().length, 1)
    kernel.closeFd(fd)
    t.is(sockets.keys().length, 0)
    sockets.close()
  },
}
