// What only the real kernel shows: that attached programs act, and what sockets really are.
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import {
  load,
  member,
  type Rig,
  rejectsErrno,
  u32,
  until,
} from '../../src/kernel/compliance/rig.ts'
import type { Accepted, BpfObject, Namespace } from '../../src/kernel/kernel.ts'
import { cgroupRoot, execute, openNativeRig } from './rig.ts'

const TIMEOUT = { timeoutMs: 5000 } as const
const ECHO = 7

let rig: Rig
let namespace: Namespace
const homeCgroup = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/'

function moveTo(cgroup: string): void {
  writeFileSync(`${cgroup}/cgroup.procs`, String(process.pid))
}

test.before(async () => {
  rig = await openNativeRig('effects')
  namespace = await rig.kernel.openNamespace(rig.namespace)
})
test.after.always(async () => {
  namespace?.close()
  // Back to where it came from, so that the cgroup can be removed.
  moveTo(join(cgroupRoot(), homeCgroup))
  await rig?.close()
})

async function acceptOne(fd: number, storage?: ReturnType<typeof storageOf>): Promise<Accepted> {
  const options = storage === undefined ? { batchMax: 1 } : { batchMax: 1, storage }
  return new Promise((resolve) => {
    const acceptor = rig.kernel.accept(fd, options, ([first]) => {
      acceptor.stop()
      if (first !== undefined) resolve(first)
    })
  })
}

function storageOf(object: BpfObject) {
  return member(object.maps, 'sample_storage')
}

test.serial(
  'a cgroup program redirects by its constant; an update takes effect at once',
  async (t) => {
    const { kernel } = rig
    moveTo(rig.cgroup)
    const listener = await kernel.listen({ address: '127.0.0.1', port: 0 })
    const constants = { sample_redirect_port: u32(listener.local.port) }
    const object = load(rig, { constants, programs: ['sample_connect4', 'sample_refuse4'] })
    const link = member(object.programs, 'sample_connect4').attachCgroup(rig.cgroup)
    const echo = { address: '127.0.0.1', port: ECHO, ...TIMEOUT }
    const client = await kernel.connect(echo)
    const accepted = await acceptOne(listener.fd)
    t.is(accepted.local.port, listener.local.port)
    link.update(member(object.programs, 'sample_refuse4'))
    await rejectsErrno(t, 'EPERM', () => kernel.connect(echo), /^connect 127.0.0.1:7/)
    link.detach()
    await rejectsErrno(t, 'ECONNREFUSED', () => kernel.connect(echo))
    for (const fd of [client.fd, accepted.fd, listener.fd]) kernel.closeFd(fd)
    link.close()
    object.close()
  },
)

test.serial('a constant of any size reaches the program', (t) => {
  const constants = { sample_redirect_port: u32(9), sample_pad: Buffer.from([7, 8, 9]) }
  const object = load(rig, { constants, programs: ['sample_tc'] })
  const { returnValue } = member(object.programs, 'sample_tc').testRun({ data: Buffer.alloc(64) })
  t.is(returnValue, 2)
  object.close()
})

test.serial('a value that sockops gives a socket comes with the accepted connection', async (t) => {
  const { kernel } = rig
  moveTo(rig.cgroup)
  const object = load(rig)
  const link = member(object.programs, 'sample_sockops').attachCgroup(rig.cgroup)
  const listener = await kernel.listen({ address: '127.0.0.1', port: 0 }, namespace.fd)
  const { port } = listener.local
  const target = { address: '127.0.0.1', port, ...TIMEOUT }
  const client = await kernel.connect(target, namespace.fd)
  const accepted = await acceptOne(listener.fd, storageOf(object))
  t.is(accepted.storage?.readUInt32LE(0), 42)
  t.is(accepted.storage?.readUInt16LE(12), client.local.port)
  t.deepEqual(storageOf(object).lookupSocket(accepted.fd), accepted.storage)
  for (const fd of [client.fd, accepted.fd, listener.fd]) kernel.closeFd(fd)
  link.detach()
  link.close()
  object.close()
})

test.serial('sk_lookup hands a connection to a listener of another port', async (t) => {
  const { kernel } = rig
  const object = load(rig)
  const link = member(object.programs, 'sample_lookup').attachNetns(namespace.fd)
  const listener = await kernel.listen({ address: '127.0.0.1', port: 0 }, namespace.fd)
  member(object.maps, 'sample_sockets').updateFd(u32(4321), listener.fd)
  const target = { address: '127.0.0.1', port: 4321, ...TIMEOUT }
  const client = await kernel.connect(target, namespace.fd)
  const accepted = await acceptOne(listener.fd)
  t.is(accepted.local.port, 4321)
  for (const fd of [client.fd, accepted.fd, listener.fd]) kernel.closeFd(fd)
  await rejectsErrno(t, 'ECONNREFUSED', () => kernel.connect(target, namespace.fd))
  link.close()
  object.close()
})

test.serial('a flood of records arrives whole, a turn at a time', async (t) => {
  const object = load(rig, { maxEntries: { sample_ring: 65_536 } })
  let count = 0
  let turns = 0
  let running = true
  const turn = (): void => {
    turns++
    if (running) setImmediate(turn)
  }
  const reader = rig.kernel.readRing(member(object.maps, 'sample_ring'), () => {
    if (count++ === 0) turn()
  })
  member(object.programs, 'sample_tc').testRun({ data: Buffer.alloc(64), repeat: 3000 })
  await until(() => count === 3000)
  running = false
  t.true(turns >= 2, 'the loop went round between batches')
  reader.stop()
  object.close()
})

test.serial('sockets are non-blocking, close-on-exec and without delay', async (t) => {
  const { kernel } = rig
  const listener = await kernel.listen({ address: '127.0.0.1', port: 0 })
  const { port } = listener.local
  const client = await kernel.connect({ address: '127.0.0.1', port, ...TIMEOUT })
  const accepted = await acceptOne(listener.fd)
  for (const fd of [listener.fd, client.fd, accepted.fd, kernel.duplicate(listener.fd)]) {
    const flags = /flags:\s*0([0-7]+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))
    const bits = Number.parseInt(flags?.[1] ?? '0', 8)
    t.is(bits & 0o4000, 0o4000, 'O_NONBLOCK')
    t.is(bits & 0o2000000, 0o2000000, 'O_CLOEXEC')
    kernel.closeFd(fd)
  }
})

test.serial('a transparent source is bound though no device has it', async (t) => {
  const { kernel } = rig
  const listener = await kernel.listen({ address: '127.0.0.1', port: 0 }, namespace.fd)
  const { port } = listener.local
  const source = { address: '192.0.2.7', port: 0 }
  const spoofed = { address: '127.0.0.1', port, source, timeoutMs: 30, mark: 0x111 }
  const bind = /^bind 192.0.2.7/
  await rejectsErrno(t, 'EADDRNOTAVAIL', () => kernel.connect(spoofed, namespace.fd), bind)
  // Bound, and then unanswered: nothing routes 192.0.2.7 back in here.
  const transparent = { ...spoofed, transparent: true }
  const error = await t.throwsAsync(() => kernel.connect(transparent, namespace.fd))
  t.regex(String(error), /connect 127\.0\.0\.1:\d+: (ETIMEDOUT|EINVAL|ENETUNREACH|EHOSTUNREACH)/)
  kernel.closeFd(listener.fd)
})

test.serial('keep-alive finds a peer that is gone', async (t) => {
  const { kernel, adopt } = rig
  const listener = await kernel.listen({ address: '10.77.0.2', port: 0 }, namespace.fd)
  const { port } = listener.local
  const keepAlive = { idleS: 1, intervalS: 1, probes: 1 }
  const spec = { address: '10.77.0.2', port, keepAlive, ...TIMEOUT }
  const client = await kernel.connect(spec, namespace.fd)
  const accepted = await acceptOne(listener.fd)
  const near = adopt(client.fd)
  near.resume()
  const failed = once(near, 'error')
  // The address goes away: probes stay unanswered.
  const label = rig.namespace.split('/').at(-1) ?? ''
  execute('ip', ['-n', label, 'link', 'set', 'lo', 'down'])
  const [error] = await failed
  t.regex(String(error), /ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENETDOWN/)
  execute('ip', ['-n', label, 'link', 'set', 'lo', 'up'])
  kernel.closeFd(accepted.fd)
  kernel.closeFd(listener.fd)
})

test.serial('a connect that fails while it is waited for says why', async (t) => {
  const { kernel, blackhole } = rig
  const silent = { address: blackhole, port: 81, ...TIMEOUT }
  const failed = rejectsErrno(t, 'ECONNABORTED', () => kernel.connect(silent, namespace.fd))
  const filter = { family: 4, destination: { address: blackhole, port: 81 } } as const
  let ended = 0
  while (ended === 0) ended = await kernel.destroySockets(filter, namespace.fd)
  await failed
})
