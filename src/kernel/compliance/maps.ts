// Compliance: maps of every type.
import type { BpfMap, Kernel, MapSpec } from '../kernel.ts'
import { load, member, NO_FD, type Rig, type Suite, throwsErrno, u32 } from './rig.ts'

const HASH: MapSpec = { name: 'ct_hash', type: 'hash', keySize: 4, valueSize: 8, maxEntries: 4 }
const ARRAY: MapSpec = { ...HASH, name: 'ct_array', type: 'array' }
const STORAGE: MapSpec = {
  name: 'ct_storage',
  type: 'sk_storage',
  keySize: 4,
  valueSize: 8,
  maxEntries: 0,
  flags: 1 | (1 << 9),
}
const SOCKHASH: MapSpec = { ...HASH, name: 'ct_sockets', type: 'sockhash' }
const RING: MapSpec = {
  name: 'ct_ring',
  type: 'ringbuf',
  keySize: 0,
  valueSize: 0,
  maxEntries: 4096,
}

export const mapSuite: Suite = {
  'a hash map keeps, replaces and forgets entries'(t, rig) {
    withMap(rig, HASH, (map) => {
      t.is(map.lookup(u32(1)), undefined)
      map.update(u32(1), u32(10, 11))
      map.update(u32(1), u32(20, 21))
      t.deepEqual(map.lookup(u32(1)), u32(20, 21))
      t.true(map.delete(u32(1)))
      t.false(map.delete(u32(1)))
      t.is(map.lookup(u32(1)), undefined)
    })
  },

  'update modes and a full hash map have their errno'(t, rig) {
    withMap(rig, HASH, (map) => {
      throwsErrno(t, 'ENOENT', () => map.update(u32(1), u32(0, 0), 'exist'), /ct_hash/)
      map.update(u32(1), u32(0, 0), 'noexist')
      throwsErrno(t, 'EEXIST', () => map.update(u32(1), u32(0, 0), 'noexist'))
      for (let key = 2; key <= 4; key++) map.update(u32(key), u32(0, 0))
      throwsErrno(t, 'E2BIG', () => map.update(u32(5), u32(0, 0)))
      map.update(u32(4), u32(9, 9))
      t.is(map.keys().length, 4)
    })
  },

  'keys and values of the wrong size are refused'(t, rig) {
    withMap(rig, HASH, (map) => {
      throwsErrno(t, 'EINVAL', () => map.lookup(u32(1, 2)), /ct_hash: key of 8 bytes, expected 4/)
      throwsErrno(t, 'EINVAL', () => map.update(u32(1), u32(1)), /value of 4 bytes, expected 8/)
      throwsErrno(t, 'EINVAL', () => map.delete(Buffer.alloc(0)))
      throwsErrno(t, 'EINVAL', () => map.updateBatch(u32(1), u32(1, 2), 2))
      throwsErrno(t, 'EINVAL', () => map.updateFd(u32(1), 0))
      throwsErrno(t, 'EINVAL', () => map.lookupSocket(1))
    })
  },

  'an array map has all its entries and keeps them'(t, rig) {
    withMap(rig, ARRAY, (map) => {
      t.deepEqual(map.lookup(u32(3)), u32(0, 0))
      t.is(map.lookup(u32(4)), undefined)
      map.update(u32(0), u32(1, 2))
      throwsErrno(t, 'EEXIST', () => map.update(u32(0), u32(1, 2), 'noexist'))
      throwsErrno(t, 'E2BIG', () => map.update(u32(4), u32(1, 2)))
      throwsErrno(t, 'EINVAL', () => map.delete(u32(0)))
      t.deepEqual(map.keys(), [u32(0), u32(1), u32(2), u32(3)])
      t.deepEqual(map.entries()[0], [u32(0), u32(1, 2)])
    })
  },

  'an LRU map makes room by itself'(t, rig) {
    withMap(rig, { ...HASH, name: 'ct_lru', type: 'lru_hash', maxEntries: 64 }, (map) => {
      for (let key = 0; key < 1000; key++) map.update(u32(key), u32(key, key))
      t.true(map.keys().length <= 64)
      t.deepEqual(map.lookup(u32(999)), u32(999, 999))
    })
  },

  'a per-CPU map has one padded value for each CPU'(t, rig) {
    withMap(rig, { ...ARRAY, name: 'ct_percpu', type: 'percpu_array', valueSize: 4 }, (map) => {
      const value = map.lookup(u32(0))
      t.is((value?.length ?? 1) % 8, 0)
      t.true((value?.length ?? 0) >= 8)
      const next = Buffer.alloc(value?.length ?? 0)
      next.writeUInt32LE(7, next.length - 8)
      map.update(u32(0), next)
      t.deepEqual(map.lookup(u32(0)), next)
      throwsErrno(t, 'EINVAL', () => map.update(u32(0), u32(1)))
    })
  },

  'batches write, list and delete many entries'(t, rig) {
    withMap(rig, { ...HASH, maxEntries: 5000 }, (map) => {
      const count = 3000
      const numbers = Array.from({ length: count }, (_, at) => at)
      map.updateBatch(u32(...numbers), u32(...numbers.flatMap((at) => [at, at * 2])), count)
      const entries = map.entries()
      t.is(entries.length, count)
      t.is(new Set(map.keys().map((key) => key.readUInt32LE(0))).size, count)
      t.true(entries.every(([key, value]) => value.readUInt32LE(4) === key.readUInt32LE(0) * 2))
      t.is(map.deleteBatch(u32(1, 9999, 2, 3, 8888), 5), 3)
      t.is(map.keys().length, count - 3)
      map.updateBatch(Buffer.alloc(0), Buffer.alloc(0), 0)
      t.is(map.deleteBatch(Buffer.alloc(0), 0), 0)
    })
  },

  'a batch that does not fit says so'(t, rig) {
    withMap(rig, HASH, (map) => {
      throwsErrno(t, 'E2BIG', () =>
        map.updateBatch(u32(1, 2, 3, 4, 5), u32(...Array(10).fill(0)), 5),
      )
      t.is(map.keys().length, 4)
    })
  },

  'an array of maps holds only maps like its template'(t, rig) {
    const inner: MapSpec = { ...HASH, name: 'ct_inner', valueSize: 4 }
    const outer: MapSpec = {
      ...ARRAY,
      name: 'ct_outer',
      type: 'array_of_maps',
      valueSize: 4,
      inner,
    }
    withMap(rig, outer, (map, kernel) => {
      const first = kernel.createMap(inner)
      const other = kernel.createMap(HASH)
      t.is(map.lookup(u32(0)), undefined)
      map.updateFd(u32(0), first.fd)
      t.deepEqual(map.lookup(u32(0)), u32(first.id))
      throwsErrno(t, 'EINVAL', () => map.updateFd(u32(1), other.fd))
      throwsErrno(t, 'EBADF', () => map.updateFd(u32(1), NO_FD))
      throwsErrno(t, 'E2BIG', () => map.updateFd(u32(9), first.fd))
      first.update(u32(1), u32(5))
      first.close()
      const again = kernel.openMapById(first.id)
      t.deepEqual(again.lookup(u32(1)), u32(5))
      again.close()
      t.true(map.delete(u32(0)))
      t.is(map.lookup(u32(0)), undefined)
      other.close()
    })
  },

  'shapes the kernel does not make are refused'(t, rig) {
    const inner: MapSpec = { ...HASH, name: 'ct_inner' }
    const shapes: readonly MapSpec[] = [
      { ...HASH, maxEntries: 0 },
      { ...HASH, keySize: 0 },
      { ...HASH, type: 'other' },
      { ...ARRAY, keySize: 8 },
      { ...HASH, inner },
      { ...ARRAY, type: 'array_of_maps', valueSize: 4 },
      { ...RING, maxEntries: 1000 },
      { ...STORAGE, maxEntries: 5 },
      { ...STORAGE, flags: 0 },
      { ...SOCKHASH, valueSize: 16 },
      { ...HASH, keySize: -1 },
    ]
    for (const shape of shapes) {
      throwsErrno(t, 'EINVAL', () => rig.kernel.createMap(shape), /BPF_MAP_CREATE/)
    }
  },

  'a closed map is EBADF, a forgotten id is ENOENT'(t, rig) {
    const { kernel } = rig
    const map = kernel.createMap(HASH)
    const second = kernel.openMapById(map.id)
    map.update(u32(1), u32(3, 4))
    map.close()
    map.close()
    throwsErrno(t, 'EBADF', () => map.lookup(u32(1)))
    throwsErrno(t, 'EBADF', () => map.fd)
    throwsErrno(t, 'EBADF', () => map.keys())
    t.deepEqual(second.lookup(u32(1)), u32(3, 4))
    second.close()
    throwsErrno(t, 'ENOENT', () => kernel.openMapById(map.id), /BPF_MAP_GET_FD_BY_ID/)
  },

  'a pinned map is found by path'(t, rig) {
    const { kernel, pins } = rig
    const path = `${pins}/map`
    const map = kernel.createMap(HASH)
    map.update(u32(1), u32(3, 4))
    map.pin(path)
    throwsErrno(t, 'EEXIST', () => map.pin(path))
    throwsErrno(t, 'ENOENT', () => map.pin(`${pins}/no/such/directory`))
    map.close()
    const again = kernel.openPinnedMap(path)
    t.deepEqual(again.lookup(u32(1)), u32(3, 4))
    t.is(again.id, map.id)
    again.close()
    throwsErrno(t, 'EINVAL', () => kernel.openPinnedProgram(path))
    throwsErrno(t, 'EINVAL', () => kernel.openPinnedLink(path))
    throwsErrno(t, 'ENOENT', () => kernel.openPinnedMap(`${pins}/none`), /BPF_OBJ_GET/)
    throwsErrno(t, 'EINVAL', () => kernel.openPinnedMap('a\0b'))
  },

  async 'socket storage is kept by socket and inherited by what is accepted'(t, rig) {
    const { kernel } = rig
    const map = kernel.createMap(STORAGE)
    const listener = await kernel.listen({ address: '127.0.0.1', port: 0 })
    t.is(map.lookupSocket(listener.fd), undefined)
    t.false(map.deleteSocket(listener.fd))
    map.updateSocket(listener.fd, u32(5, 6))
    throwsErrno(t, 'EEXIST', () => map.updateSocket(listener.fd, u32(5, 6), 'noexist'))
    t.deepEqual(map.lookupSocket(listener.fd), u32(5, 6))
    throwsErrno(t, 'EBADF', () => map.lookupSocket(NO_FD))
    throwsErrno(t, 'EINVAL', () => map.updateSocket(listener.fd, u32(5)))
    throwsErrno(t, 'ENOTSUPP', () => map.keys())

    const { port } = listener.local
    const client = await kernel.connect({ address: '127.0.0.1', port, timeoutMs: 5000 })
    const accepted = await new Promise<Buffer | undefined>((resolve) => {
      const options = { batchMax: 4, storage: map }
      const acceptor = kernel.accept(listener.fd, options, ([first]) => {
        acceptor.stop()
        resolve(first?.storage)
        kernel.closeFd(first?.fd ?? -1)
      })
    })
    t.deepEqual(accepted, u32(5, 6))
    t.is(map.lookupSocket(client.fd), undefined)
    t.true(map.deleteSocket(listener.fd))
    kernel.closeFd(client.fd)
    kernel.closeFd(listener.fd)
    map.close()
  },

  async 'a socket hash holds listeners until their last descriptor closes'(t, rig) {
    const { kernel } = rig
    const map = kernel.createMap(SOCKHASH)
    const listener = await kernel.listen({ address: '127.0.0.1', port: 0 })
    map.updateFd(u32(1), listener.fd)
    t.is(map.lookup(u32(1))?.length, 8)
    throwsErrno(t, 'EBADF', () => map.updateFd(u32(2), NO_FD))
    throwsErrno(t, 'EEXIST', () => map.updateFd(u32(1), listener.fd, 'noexist'))
    const copy = kernel.duplicate(listener.fd)
    kernel.closeFd(listener.fd)
    t.is(map.keys().length, 1)
    kernel.closeFd(copy)
    t.is(map.keys().length, 0)
    t.is(map.lookup(u32(1)), undefined)
    map.close()
  },

  'maps of a loaded object say what they are'(t, rig) {
    const object = load(rig)
    const found = [...object.maps.values()].map((map) => `${map.name} ${map.type}`).sort()
    t.deepEqual(found, [
      'sample_array array',
      'sample_hash hash',
      'sample_outer array_of_maps',
      'sample_percpu percpu_array',
      'sample_ring ringbuf',
      'sample_sockets sockhash',
      'sample_storage sk_storage',
    ])
    const hash = member(object.maps, 'sample_hash')
    t.like(hash, { keySize: 4, valueSize: 16, maxEntries: 4, flags: 0 })
    object.close()
    throwsErrno(t, 'EBADF', () => hash.lookup(u32(1)))
  },
}

function withMap(rig: Rig, spec: MapSpec, run: (map: BpfMap, kernel: Kernel) => void): void {
  const map = rig.kernel.createMap(spec)
  try {
    run(map, rig.kernel)
  } finally {
    map.close()
  }
}
