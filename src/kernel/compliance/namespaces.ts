// Compliance: network namespaces, their devices and their settings.
import { readFileSync } from 'node:fs'
import { NO_FD, openNamespace, rejectsErrno, type Suite } from './rig.ts'

export const namespaceSuite: Suite = {
  async 'a namespace has a cookie that its sockets show'(t, rig) {
    const { kernel } = rig
    const [first, second] = [await openNamespace(rig), await openNamespace(rig)]
    t.is(first.cookie, second.cookie)
    t.is(first.inode, second.inode)
    t.not(first.fd, second.fd)
    const own = await kernel.openNamespace('/proc/self/ns/net')
    t.not(own.cookie, first.cookie)
    const inside = await kernel.listen({ address: '127.0.0.1', port: 0 }, first.fd)
    const outside = await kernel.listen({ address: '127.0.0.1', port: 0 })
    t.is(kernel.socketNetnsCookie(inside.fd), first.cookie)
    t.is(kernel.socketNetnsCookie(outside.fd), own.cookie)
    for (const { fd } of [inside, outside]) kernel.closeFd(fd)
    for (const namespace of [first, second, own]) namespace.close()
    first.close()
    await rejectsErrno(t, 'EBADF', () => kernel.deviceIndex('lo', first.fd))
  },

  async 'what is no namespace is refused'(t, rig) {
    const { kernel, scratch } = rig
    await rejectsErrno(t, 'ENOENT', () => kernel.openNamespace(`${scratch}/none`), /open .*none/)
    await rejectsErrno(t, 'EINVAL', () => kernel.openNamespace('/proc/self/status'))
    await rejectsErrno(t, 'EINVAL', () => kernel.openNamespace(''))
    const listener = await kernel.listen({ address: '127.0.0.1', port: 0 })
    const inside = { address: '127.0.0.1', port: 0 }
    await rejectsErrno(t, 'EINVAL', () => kernel.listen(inside, listener.fd), /setns/)
    for (const fd of [NO_FD, -1]) {
      // Never the process's own namespace instead.
      await rejectsErrno(t, 'EBADF', () => kernel.listen(inside, fd))
      await rejectsErrno(t, 'EBADF', () => kernel.connect({ ...inside, port: 1, timeoutMs: 1 }, fd))
      await rejectsErrno(t, 'EBADF', () => kernel.deviceIndex('lo', fd))
    }
    kernel.closeFd(listener.fd)
  },

  async 'devices are found by name'(t, rig) {
    const namespace = await openNamespace(rig)
    t.is(await rig.kernel.deviceIndex('lo', namespace.fd), 1)
    t.is(await rig.kernel.deviceIndex('lo'), 1)
    t.is(await rig.kernel.deviceIndex('weft9', namespace.fd), undefined)
    t.not(await rig.kernel.deviceIndex('weft0', namespace.fd), undefined)
    namespace.close()
  },

  async 'a file below /proc/sys/net is written for one namespace only'(t, rig) {
    const { kernel } = rig
    const namespace = await openNamespace(rig)
    const path = '/proc/sys/net/ipv4/tcp_fwmark_accept'
    const before = readFileSync(path, 'utf8')
    await kernel.writeFileIn(namespace.fd, path, '1')
    t.is(readFileSync(path, 'utf8'), before)
    await rejectsErrno(t, 'ENOENT', () => kernel.writeFileIn(namespace.fd, `${path}.none`, '1'))
    await rejectsErrno(t, 'EBADF', () => kernel.writeFileIn(NO_FD, path, '1'))
    namespace.close()
  },
}
