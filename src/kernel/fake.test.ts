import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { type Rig, throwsErrno, u32, V4, V6 } from './compliance/rig.ts'
import { compliance } from './compliance/suite.ts'
import type { FakeObjectSpec } from './fake/object.ts'
import { fakeKernel } from './fake.ts'

const ELF = Buffer.from('\x7fELF and whatever follows', 'latin1')
const NAMESPACE = '/run/netns/fake'

const SAMPLE: FakeObjectSpec = {
  name: 'sample',
  constants: { sample_redirect_port: 4, sample_pad: 3, sample_big: 8 },
  maps: [
    { name: 'sample_hash', type: 'hash', keySize: 4, valueSize: 16, maxEntries: 4 },
    { name: 'sample_array', type: 'array', keySize: 4, valueSize: 8, maxEntries: 4 },
    { name: 'sample_percpu', type: 'percpu_array', keySize: 4, valueSize: 4, maxEntries: 2 },
    { name: 'sample_ring', type: 'ringbuf', keySize: 0, valueSize: 0, maxEntries: 4096 },
    {
      name: 'sample_storage',
      type: 'sk_storage',
      keySize: 4,
      valueSize: 16,
      maxEntries: 0,
      flags: 1,
    },
    { name: 'sample_sockets', type: 'sockhash', keySize: 4, valueSize: 8, maxEntries: 8 },
    {
      name: 'sample_outer',
      type: 'array_of_maps',
      keySize: 4,
      valueSize: 4,
      maxEntries: 2,
      inner: { type: 'hash', keySize: 4, valueSize: 4, maxEntries: 8 },
    },
  ],
  programs: [
    { name: 'sample_connect4', attach: 'cgroup', hook: 'connect4', verifiedInstructions: 5 },
    { name: 'sample_refuse4', attach: 'cgroup', hook: 'connect4', verifiedInstructions: 6 },
    { name: 'sample_sockops', attach: 'cgroup', hook: 'sockops', verifiedInstructions: 21 },
    { name: 'sample_lookup', attach: 'netns', verifiedInstructions: 19 },
    { name: 'sample_tc', attach: 'tcx', verifiedInstructions: 26, run: () => ({}) },
    {
      name: 'sample_iter',
      attach: 'iter',
      verifiedInstructions: 13,
      // The compliance suite listens on 7777 in its own namespace, the second one.
      iterate: (cookie) => Buffer.from(Uint16Array.of(cookie === 2n ? 7777 : 22).buffer),
    },
  ],
  layouts: [
    {
      name: 'sample_value',
      size: 16,
      members: [
        { name: 'count', offset: 0, size: 8 },
        { name: 'address', offset: 8, size: 4 },
        { name: 'port', offset: 12, size: 2 },
        { name: 'flags', offset: 14, size: 2 },
      ],
    },
  ],
}

const REFUSED: FakeObjectSpec = {
  name: 'refused',
  maps: [{ name: 'refused_hash', type: 'hash', keySize: 4, valueSize: 8, maxEntries: 1 }],
  programs: [
    { name: 'refused_fine', attach: 'tcx' },
    {
      name: 'refused_unchecked',
      attach: 'tcx',
      refused: { errno: 'EACCES', log: "R0 invalid mem access 'map_value_or_null'" },
    },
  ],
}

async function openRig(): Promise<Rig> {
  const root = mkdtempSync(join(tmpdir(), 'weft-fake-'))
  const [pins, scratch, cgroup] = ['pins', 'scratch', 'cgroup'].map((name) => join(root, name)) as [
    string,
    string,
    string,
  ]
  for (const directory of [pins, scratch, cgroup]) mkdirSync(directory)
  const kernel = fakeKernel({
    objects: [SAMPLE, REFUSED],
    namespaces: { [NAMESPACE]: { addresses: [V4, V6], devices: ['weft0'] } },
    cgroups: [cgroup],
    blackholes: ['10.77.0.99'],
  })
  return {
    kernel,
    sample: ELF,
    refused: ELF,
    pins,
    scratch,
    cgroup,
    namespace: NAMESPACE,
    hasTcx: true,
    blackhole: '10.77.0.99',
    adopt: (fd) => kernel.control.adopt(fd),
    emit(object, length) {
      const ring = object.maps.get('sample_ring')
      if (ring !== undefined) kernel.control.emit(ring, u32(length, length * 2))
    },
    async close() {
      rmSync(root, { recursive: true, force: true })
    },
  }
}

compliance(test, openRig)

test('leaves no descriptor open after everything is closed', (t) => {
  const kernel = fakeKernel({ objects: [SAMPLE] })
  const object = kernel.loadObject({ bytes: ELF, name: 'sample' })
  t.true(kernel.control.openDescriptors > 0)
  object.close()
  t.is(kernel.control.openDescriptors, 0)
})

test('a descriptor is closed once', async (t) => {
  const kernel = fakeKernel()
  const { fd } = await kernel.listen({ address: '127.0.0.1', port: 0 })
  kernel.closeFd(fd)
  throwsErrno(t, 'EBADF', () => kernel.closeFd(fd))
})

test('a connection reaches the namespace that has the address', async (t) => {
  const kernel = fakeKernel({
    namespaces: { '/a': { addresses: ['10.0.0.1'] }, '/b': { addresses: ['10.0.0.2'] } },
  })
  const [a, b] = [await kernel.openNamespace('/a'), await kernel.openNamespace('/b')]
  const listener = await kernel.listen({ address: '10.0.0.2', port: 80 }, b.fd)
  const target = { address: '10.0.0.2', port: 80, timeoutMs: 1000 }
  const client = await kernel.connect(target, a.fd)
  t.is(client.local.address, '10.0.0.1')
  t.is(kernel.socketNetnsCookie(client.fd), a.cookie)
  kernel.closeFd(listener.fd)
  await t.throwsAsync(() => kernel.connect(target, a.fd), { message: /ECONNREFUSED/ })
})

test('an original destination is what the test says it is', async (t) => {
  const kernel = fakeKernel()
  const listener = await kernel.listen({ address: '127.0.0.1', port: 0 })
  const { port } = listener.local
  const { fd } = await kernel.connect({ address: '127.0.0.1', port, timeoutMs: 1000 })
  t.is(kernel.originalDestination(fd), undefined)
  kernel.control.setOriginalDestination(fd, { address: '10.1.1.1', port: 80 })
  t.deepEqual(kernel.originalDestination(fd), { address: '10.1.1.1', port: 80 })
})

test('an object nobody declared is no object', (t) => {
  throwsErrno(t, 'EINVAL', () => fakeKernel().loadObject({ bytes: ELF, name: 'other' }))
})
