// Compliance: listening, connecting, accepting, ending connections.
import { once } from 'node:events'
import type { ExecutionContext } from 'ava'
import type { Accepted } from '../kernel.ts'
import {
  collector,
  NO_FD,
  openNamespace,
  type Rig,
  rejectsErrno,
  type Suite,
  throwsErrno,
  until,
  V4,
  V6,
} from './rig.ts'

const TIMEOUT = { timeoutMs: 5000 } as const

function acceptAll(rig: Rig, fd: number, batchMax = 16) {
  const got = collector<Accepted>()
  const acceptor = rig.kernel.accept(fd, { batchMax }, (batch) => batch.forEach(got.add))
  return { ...got, acceptor }
}

export const socketSuite: Suite = {
  'connects, accepts and carries bytes over IPv4': (t, rig) => carries(t, rig, '127.0.0.1'),
  'connects, accepts and carries bytes over IPv6': (t, rig) => carries(t, rig, '::1'),

  async 'sockets live in the namespace they were asked for'(t, rig) {
    const { kernel } = rig
    const namespace = await openNamespace(rig)
    for (const address of [V4, V6]) {
      const spec = { address, port: 8080 }
      const listener = await kernel.listen(spec, namespace.fd)
      const { next, acceptor } = acceptAll(rig, listener.fd)
      const client = await kernel.connect({ ...spec, ...TIMEOUT }, namespace.fd)
      const accepted = await next()
      t.is(accepted.remote.address, address)
      t.is(kernel.socketNetnsCookie(accepted.fd), namespace.cookie)
      t.is(kernel.originalDestination(accepted.fd), undefined)
      acceptor.stop()
      for (const fd of [client.fd, accepted.fd, listener.fd]) kernel.closeFd(fd)
    }
    namespace.close()
  },

  async 'a dual-stack listener shows IPv4 callers as IPv4'(t, rig) {
    const { kernel } = rig
    const dual = await kernel.listen({ address: '::', port: 0 })
    const { next, acceptor } = acceptAll(rig, dual.fd)
    const { port } = dual.local
    const client = await kernel.connect({ address: '127.0.0.1', port, ...TIMEOUT })
    const accepted = await next()
    t.is(accepted.remote.address, '127.0.0.1')
    t.is(accepted.local.address, '127.0.0.1')
    acceptor.stop()
    for (const fd of [client.fd, accepted.fd, dual.fd]) kernel.closeFd(fd)
    const only = await kernel.listen({ address: '::', port: 0, v6Only: true })
    const refused = { address: '127.0.0.1', port: only.local.port, ...TIMEOUT }
    await rejectsErrno(t, 'ECONNREFUSED', () => kernel.connect(refused))
    kernel.closeFd(only.fd)
  },

  async 'listening where one may not is refused'(t, rig) {
    const { kernel } = rig
    const first = await kernel.listen({ address: '127.0.0.1', port: 0 })
    const { port } = first.local
    const listen = (spec: Parameters<typeof kernel.listen>[0]) => () => kernel.listen(spec)
    await rejectsErrno(t, 'EADDRINUSE', listen({ address: '127.0.0.1', port }), /bind 127.0.0.1:/)
    await rejectsErrno(t, 'EADDRINUSE', listen({ address: '0.0.0.0', port }))
    await rejectsErrno(t, 'EADDRNOTAVAIL', listen({ address: '192.0.2.1', port: 0 }), /192.0.2.1/)
    await rejectsErrno(t, 'EINVAL', listen({ address: 'localhost', port: 0 }))
    await rejectsErrno(t, 'EINVAL', listen({ address: '127.0.0.1', port: 65536 }))
    for (const option of ['freebind', 'transparent'] as const) {
      for (const address of ['192.0.2.1', '2001:db8::1']) {
        const foreign = await kernel.listen({ address, port: 0, [option]: true })
        t.is(foreign.local.address, address)
        kernel.closeFd(foreign.fd)
      }
    }
    kernel.closeFd(first.fd)
  },

  async 'connecting fails with the errno of its cause'(t, rig) {
    const { kernel, blackhole } = rig
    const closed = await kernel.listen({ address: '127.0.0.1', port: 0 })
    kernel.closeFd(closed.fd)
    const target = { address: '127.0.0.1', port: closed.local.port, ...TIMEOUT }
    await rejectsErrno(t, 'ECONNREFUSED', () => kernel.connect(target), /^connect 127.0.0.1:/)
    const v6 = { address: '::1', port: 80 }
    await rejectsErrno(t, 'EAFNOSUPPORT', () => kernel.connect({ ...target, source: v6 }))
    const foreign = { address: '192.0.2.1', port: 0 }
    const bind = /^bind 192.0.2.1/
    await rejectsErrno(
      t,
      'EADDRNOTAVAIL',
      () => kernel.connect({ ...target, source: foreign }),
      bind,
    )
    await rejectsErrno(t, 'EINVAL', () => kernel.connect({ ...target, address: 'x' }))
    await rejectsErrno(t, 'EINVAL', () => kernel.connect({ ...target, timeoutMs: 0 }))
    await rejectsErrno(t, 'EINVAL', () => kernel.connect({ ...target, portRange: [9, 8] }))
    await rejectsErrno(t, 'EBADF', () => kernel.connect(target, NO_FD))
    const namespace = await openNamespace(rig)
    const silent = { address: blackhole, port: 80, timeoutMs: 20 }
    await rejectsErrno(t, 'ETIMEDOUT', () => kernel.connect(silent, namespace.fd), /^connect/)
    namespace.close()
  },

  async 'an aborted connection is cancelled, whenever that happens'(t, rig) {
    const { kernel, blackhole } = rig
    const namespace = await openNamespace(rig)
    const connect = (signal: AbortSignal) => () =>
      kernel.connect({ address: blackhole, port: 80, ...TIMEOUT, signal }, namespace.fd)
    await rejectsErrno(t, 'ECANCELED', connect(AbortSignal.abort()))
    const soon = new AbortController()
    const pending = rejectsErrno(t, 'ECANCELED', connect(soon.signal))
    soon.abort()
    await pending
    const later = new AbortController()
    setTimeout(() => later.abort(), 10)
    await rejectsErrno(t, 'ECANCELED', connect(later.signal), /^connect/)
    namespace.close()
  },

  async 'the source may be chosen, and a range of ports runs out'(t, rig) {
    const { kernel } = rig
    const namespace = await openNamespace(rig)
    const spec = { address: '127.0.0.1', port: 8081 }
    const listener = await kernel.listen(spec, namespace.fd)
    const source = { address: '127.0.0.5', port: 0 }
    const ranged = { ...spec, ...TIMEOUT, source, portRange: [2000, 2003] as const }
    const ports = new Set<number>()
    const fds: number[] = []
    for (let at = 0; at < 4; at++) {
      const { fd, local } = await kernel.connect(ranged, namespace.fd)
      t.is(local.address, '127.0.0.5')
      ports.add(local.port)
      fds.push(fd)
    }
    t.deepEqual([...ports].sort(), [2000, 2001, 2002, 2003])
    const error = await t.throwsAsync(() => kernel.connect(ranged, namespace.fd))
    t.regex(String(error), /EADDRINUSE|EADDRNOTAVAIL/)
    const exact = { ...spec, ...TIMEOUT, source: { address: '127.0.0.6', port: 2100 } }
    const chosen = await kernel.connect(exact, namespace.fd)
    t.deepEqual(chosen.local, exact.source)
    for (const fd of [...fds, chosen.fd, listener.fd]) kernel.closeFd(fd)
    namespace.close()
  },

  async 'many connections in one turn all arrive, in batches no larger than asked'(t, rig) {
    const { kernel } = rig
    const listener = await kernel.listen({ address: '127.0.0.1', port: 0 })
    const { port } = listener.local
    const sizes: number[] = []
    let accepted = 0
    const acceptor = kernel.accept(listener.fd, { batchMax: 8 }, (batch) => {
      sizes.push(batch.length)
      accepted += batch.length
      for (const { fd } of batch) kernel.closeFd(fd)
    })
    const clients = await Promise.all(
      Array.from({ length: 200 }, () => kernel.connect({ address: '127.0.0.1', port, ...TIMEOUT })),
    )
    await until(() => accepted === 200)
    t.true(Math.max(...sizes) <= 8)
    acceptor.stop()
    for (const { fd } of clients) kernel.closeFd(fd)
    kernel.closeFd(listener.fd)
  },

  async 'an acceptor pauses, resumes and stops'(t, rig) {
    const { kernel } = rig
    const listener = await kernel.listen({ address: '127.0.0.1', port: 0 })
    const target = { address: '127.0.0.1', port: listener.local.port, ...TIMEOUT }
    const { items, next, acceptor } = acceptAll(rig, listener.fd)
    acceptor.pause()
    const client = await kernel.connect(target)
    await new Promise((resolve) => setTimeout(resolve, 20))
    t.is(items.length, 0)
    acceptor.resume()
    const accepted = await next()
    acceptor.stop()
    acceptor.stop()
    acceptor.resume()
    const second = await kernel.connect(target)
    await new Promise((resolve) => setTimeout(resolve, 20))
    t.is(items.length, 0)
    // The listener is still open: another acceptor gets what waited.
    const successor = acceptAll(rig, listener.fd)
    const late = await successor.next()
    successor.acceptor.stop()
    for (const fd of [client.fd, accepted.fd, second.fd, late.fd]) kernel.closeFd(fd)
    kernel.closeFd(listener.fd)
    await rejectsErrno(t, 'ECONNREFUSED', () => kernel.connect(target))
  },

  'accepting on what is no listener is refused'(t, rig) {
    const { kernel } = rig
    throwsErrno(t, 'EBADF', () => kernel.accept(NO_FD, { batchMax: 1 }, () => {}))
    throwsErrno(t, 'EINVAL', () => kernel.accept(0, { batchMax: 0 }, () => {}))
  },

  async 'a duplicate keeps its socket open'(t, rig) {
    const { kernel } = rig
    const listener = await kernel.listen({ address: '127.0.0.1', port: 0 })
    const copy = kernel.duplicate(listener.fd)
    kernel.closeFd(listener.fd)
    const target = { address: '127.0.0.1', port: listener.local.port, ...TIMEOUT }
    const client = await kernel.connect(target)
    kernel.closeFd(client.fd)
    kernel.closeFd(copy)
    await rejectsErrno(t, 'ECONNREFUSED', () => kernel.connect(target))
  },

  'what is no descriptor is EBADF'(t, rig) {
    const { kernel } = rig
    for (const fd of [NO_FD, -1, 1.5]) {
      throwsErrno(t, 'EBADF', () => kernel.closeFd(fd))
      throwsErrno(t, 'EBADF', () => kernel.duplicate(fd))
      throwsErrno(t, 'EBADF', () => kernel.setLingerZero(fd))
      throwsErrno(t, 'EBADF', () => kernel.clearLingerZero(fd))
      throwsErrno(t, 'EBADF', () => kernel.socketNetnsCookie(fd))
      throwsErrno(t, 'EBADF', () => kernel.originalDestination(fd))
    }
  },

  async 'linger zero ends a connection by reset'(t, rig) {
    const { kernel, adopt } = rig
    const listener = await kernel.listen({ address: '127.0.0.1', port: 0 })
    const { next, acceptor } = acceptAll(rig, listener.fd)
    const { port } = listener.local
    const client = await kernel.connect({ address: '127.0.0.1', port, ...TIMEOUT })
    const far = adopt((await next()).fd)
    kernel.setLingerZero(client.fd)
    far.resume()
    const failed = once(far, 'error')
    kernel.closeFd(client.fd)
    const [error] = await failed
    t.regex(String(error), /ECONNRESET/)
    acceptor.stop()
    kernel.closeFd(listener.fd)
  },

  async 'linger zero of a listener is that of its connections, until it is cleared'(t, rig) {
    const { kernel, adopt } = rig
    const listener = await kernel.listen({ address: '127.0.0.1', port: 0 })
    kernel.setLingerZero(listener.fd)
    const { next, acceptor } = acceptAll(rig, listener.fd)
    const { port } = listener.local
    for (const cleared of [false, true]) {
      const client = adopt((await kernel.connect({ address: '127.0.0.1', port, ...TIMEOUT })).fd)
      const { fd } = await next()
      if (cleared) kernel.clearLingerZero(fd)
      const over = new Promise<string>((resolve) => {
        client.once('error', (error) => resolve(String(error)))
        client.once('end', () => resolve('end'))
      })
      client.resume()
      kernel.closeFd(fd)
      t.regex(await over, cleared ? /^end$/ : /ECONNRESET/)
      client.destroy()
    }
    acceptor.stop()
    kernel.closeFd(listener.fd)
  },

  async 'live connections are ended by what they match'(t, rig) {
    const { kernel, adopt } = rig
    const namespace = await openNamespace(rig)
    for (const [address, family] of [
      [V4, 4],
      [V6, 6],
    ] as const) {
      const listener = await kernel.listen({ address, port: 0 }, namespace.fd)
      const { port } = listener.local
      const { next, acceptor } = acceptAll(rig, listener.fd)
      const connect = () => kernel.connect({ address, port, ...TIMEOUT }, namespace.fd)
      const near = adopt((await connect()).fd)
      const far = adopt((await next()).fd)
      near.resume()
      far.resume()
      const destroy = (filter: Omit<Parameters<typeof kernel.destroySockets>[0], 'family'>) =>
        kernel.destroySockets({ family, ...filter }, namespace.fd)
      t.is(await destroy({ destination: { address, port: 1 } }), 0)
      t.is(
        await destroy({ destination: { address: family === 4 ? '10.9.9.9' : 'fd99::9', port } }),
        0,
      )
      for (const cookies of [[], [0xffff_ffff_ffffn]]) t.is(await destroy({ cookies }), 0)
      const failed = Promise.all([once(near, 'error'), once(far, 'error')])
      t.is(await destroy({ destination: { address, port } }), 1)
      const [[nearError], [farError]] = await failed
      t.regex(String(nearError), /ECONNABORTED/)
      t.regex(String(farError), /ECONNRESET/)
      // The listener is no connection.
      t.is(await destroy({ source: { port } }), 0)
      kernel.closeFd((await connect()).fd)
      kernel.closeFd((await next()).fd)
      acceptor.stop()
      kernel.closeFd(listener.fd)
    }
    const unbounded = { family: 4 } as const
    await rejectsErrno(t, 'EINVAL', () => kernel.destroySockets(unbounded, namespace.fd))
    const bad = { family: 4, source: { address: 'x' } } as const
    await rejectsErrno(t, 'EINVAL', () => kernel.destroySockets(bad, namespace.fd))
    namespace.close()
  },
}

async function carries(t: ExecutionContext, rig: Rig, address: string): Promise<void> {
  const { kernel, adopt } = rig
  const listener = await kernel.listen({ address, port: 0 })
  t.is(listener.local.address, address)
  const { next, acceptor } = acceptAll(rig, listener.fd)
  const client = await kernel.connect({ address, port: listener.local.port, ...TIMEOUT })
  const accepted = await next()
  t.deepEqual(accepted.remote, client.local)
  t.deepEqual(accepted.local, listener.local)
  t.is(accepted.storage, undefined)
  const [near, far] = [adopt(client.fd), adopt(accepted.fd)]
  near.end('ping')
  far.end('pong')
  const [[ping], [pong]] = await Promise.all([once(far, 'data'), once(near, 'data')])
  t.is(String(ping), 'ping')
  t.is(String(pong), 'pong')
  near.destroy()
  far.destroy()
  acceptor.stop()
  kernel.closeFd(listener.fd)
}
