import test from 'ava'
import fc from 'fast-check'
import { CGROUP_NAME_MAX, CGROUP_ROOT, HOST, HOST_FLAGS, HOST_NAME } from '../abi.ts'
import { fakeKernel } from '../fake.ts'
import type { BpfMap } from '../kernel.ts'
import { HostNames } from './host-names.ts'

function newMap(): BpfMap {
  return fakeKernel().createMap({
    name: 'weft_hosts',
    type: 'hash',
    keySize: HOST_NAME.size,
    valueSize: HOST.size,
    maxEntries: 1024,
  })
}

/** As lib/host.h walks: what a socket in this cgroup belongs to. */
function walk(map: BpfMap, names: readonly string[]): { workload: number; flags: number } {
  let parent = CGROUP_ROOT
  let workload = 0
  let flags = 0
  for (const name of names) {
    const bytes = Buffer.alloc(CGROUP_NAME_MAX)
    bytes.write(name)
    const value = map.lookup(HOST_NAME.encode({ parent, name: [...bytes] }))
    if (value === undefined) break
    const entry = HOST.decode(value)
    workload = entry.workload || workload
    flags |= entry.flags
    if (entry.below === 0n) break
    parent = entry.below
  }
  return { workload, flags }
}

const path = (text: string): string[] => text.split('/')

test('a cgroup and what is below it are known, what is beside it is not', (t) => {
  const map = newMap()
  new HostNames(map).change(path('system.slice/web.service'), { workload: 7 })
  t.is(walk(map, path('system.slice/web.service')).workload, 7)
  t.is(walk(map, path('system.slice/web.service/a/b')).workload, 7)
  for (const other of [
    'system.slice',
    'system.slice/ssh.service',
    'web.service',
    'a/web.service',
  ]) {
    t.is(walk(map, path(other)).workload, 0, other)
  }
})

test('the deepest workload counts, and whoever is below a prober is one', (t) => {
  const map = newMap()
  const names = new HostNames(map)
  names.change(path('a'), { flags: HOST_FLAGS.probe })
  names.change(path('a/b'), { workload: 1 })
  names.change(path('a/b/c'), { workload: 2 })
  t.deepEqual(walk(map, path('a')), { workload: 0, flags: HOST_FLAGS.probe })
  t.deepEqual(walk(map, path('a/b/x')), { workload: 1, flags: HOST_FLAGS.probe })
  t.deepEqual(walk(map, path('a/b/c/d')), { workload: 2, flags: HOST_FLAGS.probe })
})

test('whoever reads the map again knows the same, and leaves nothing behind', (t) => {
  const name = fc.constantFrom('a', 'b', 'c')
  const change = fc.record({
    names: fc.array(name, { minLength: 1, maxLength: 4 }),
    workload: fc.integer({ min: 0, max: 3 }),
    probe: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
      const map = newMap()
      const wanted = new Map<string, { workload: number; flags: number }>()
      for (const { names, workload, probe } of changes) {
        const flags = probe ? HOST_FLAGS.probe : 0
        // Each time by somebody who has only the map.
        new HostNames(map).change(names, { workload, flags })
        wanted.set(names.join('/'), { workload, flags })
      }
      for (const [text, entry] of wanted) {
        const found = new HostNames(map).find(path(text))
        t.deepEqual({ workload: found.workload, flags: found.flags }, entry)
        t.is(walk(map, path(text)).workload || 0, deepest(wanted, path(text)))
      }
      for (const text of wanted.keys()) {
        new HostNames(map).change(path(text), { workload: 0, flags: 0 })
      }
      t.deepEqual(map.keys(), [])
    }),
    { numRuns: 60 },
  )
})

function deepest(
  wanted: ReadonlyMap<string, { readonly workload: number }>,
  names: readonly string[],
): number {
  for (let depth = names.length; depth > 0; depth--) {
    const workload = wanted.get(names.slice(0, depth).join('/'))?.workload ?? 0
    if (workload !== 0) return workload
  }
  return 0
}
