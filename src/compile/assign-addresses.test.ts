import test from 'ava'
import fc from 'fast-check'
import { fnv1a } from '../base/fnv.ts'
import { canonicalIp } from '../base/ip.ts'
import { LIMITS } from '../model/limits.ts'
import { addressesAt, assignAddresses, isPlace, NO_PLACES } from './assign-addresses.ts'
import { compileWorld } from './registry.ts'
import { compile, istio, pod, service } from './testing/written.ts'

const keys = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 4 }), { maxLength: 30 })
/** Few, so that they collide. */
const places = fc.integer({ min: 1, max: 40 })
const kept = fc
  .array(fc.tuple(fc.string({ minLength: 1, maxLength: 4 }), places), { maxLength: 30 })
  .map((entries) => {
    const owners = new Map(entries.map(([key, place]) => [place, key]))
    return new Map([...owners].map(([place, key]) => [key, place]))
  })
const taken = fc.array(places, { maxLength: 10 }).map((list) => new Set(list))

test('every key gets a place of its own that nobody wrote, whatever was kept', (t) => {
  fc.assert(
    fc.property(keys, kept, taken, (keys, kept, taken) => {
      const got = assignAddresses(keys, kept, taken)
      t.is(new Set(got.values()).size, got.size)
      for (const key of keys) t.true(isPlace(got.get(key) ?? 0))
      for (const place of got.values()) t.false(taken.has(place))
    }),
  )
  t.pass()
})

test('what was kept stays, also through a time without the service', (t) => {
  fc.assert(
    fc.property(keys, keys, kept, (first, second, kept) => {
      const before = assignAddresses(first, kept, new Set())
      const between = assignAddresses(second, before, new Set())
      const after = assignAddresses(first, between, new Set())
      for (const key of first) t.is(after.get(key), before.get(key))
      for (const [key, place] of kept) t.is(after.get(key), place)
    }),
  )
  t.pass()
})

test('the order of the keys does not matter', (t) => {
  fc.assert(
    fc.property(keys, kept, (keys, kept) => {
      const sorted = (map: ReadonlyMap<string, number>) => [...map].sort()
      t.deepEqual(
        sorted(assignAddresses(keys, kept, new Set())),
        sorted(assignAddresses([...keys].reverse(), kept, new Set())),
      )
    }),
  )
  t.pass()
})

test('two names with one hash get neighbours, and each keeps its own', (t) => {
  const place = (key: string) => (fnv1a(key) % LIMITS.assignedAddressesMax) + 1
  const seen = new Map<number, string>()
  let twins: readonly [string, string] | undefined
  for (let at = 0; twins === undefined; at++) {
    const key = `shop/s${at}`
    const other = seen.get(place(key))
    if (other !== undefined) twins = [other, key]
    seen.set(place(key), key)
  }
  const [a, b] = [...twins].sort() as [string, string]
  const both = assignAddresses([a, b], NO_PLACES, new Set())
  t.deepEqual([both.get(a), both.get(b)], [place(a), place(a) + 1])
  t.is(assignAddresses([b], both, new Set()).get(b), place(a) + 1)
  t.is(assignAddresses([b], NO_PLACES, new Set()).get(b), place(b))
})

test('who is gone gives way only when nothing else is free', (t) => {
  const many = Array.from({ length: LIMITS.assignedAddressesMax }, (_, at) => `k${at}`)
  const full = assignAddresses(many.slice(0, -1), NO_PLACES, new Set())
  t.is(new Set(full.values()).size, many.length - 1)
  const without = many.slice(1, -1)
  const next = assignAddresses([...without, 'new'], full, new Set())
  t.is(next.get('k0'), full.get('k0'))
  const last = assignAddresses([...without, 'new', 'newer'], next, new Set())
  t.is(last.get('newer'), full.get('k0'))
  t.false(last.has('k0'))
  const none = assignAddresses([...without, 'new', 'newer', 'newest'], last, new Set())
  t.false(none.has('newest'))
})

test('of those that are gone only the newest are remembered', (t) => {
  const many = Array.from({ length: LIMITS.departedAddressesMax + 10 }, (_, at) => `k${at}`)
  const full = assignAddresses(many, NO_PLACES, new Set())
  const rest = assignAddresses([], full, new Set())
  t.is(rest.size, LIMITS.departedAddressesMax)
})

for (const [place, v4, v6] of [
  [1, '240.240.0.1', '2001:2::1'],
  [256, '240.240.1.0', '2001:2::100'],
  [LIMITS.assignedAddressesMax, '240.240.255.254', '2001:2::fffe'],
] as const) {
  test(`place ${place} is ${v4} and ${v6}`, (t) => {
    t.deepEqual(addressesAt(place), [v4, v6])
    t.is(canonicalIp(v6), v6)
  })
}

const ports = [{ name: 'tcp', number: 80 }]
const endpoints = [{ address: '10.0.0.9' }]
const entry = (hosts: readonly string[], more: object = {}) =>
  istio('ServiceEntry', 'x', { hosts, ports, resolution: 'STATIC', endpoints, ...more })
const kube = (spec: object) => service('web', { ports: [{ port: 80 }], ...spec })

const written: readonly (readonly [string, object, number])[] = [
  ['a Service without an address', kube({}), 2],
  ['a Service with an empty one', kube({ clusterIP: '' }), 2],
  ['a Service with its own', kube({ clusterIP: '10.9.0.1' }), 1],
  ['a headless Service', kube({ clusterIP: 'None' }), 0],
  ['an alias', kube({ type: 'ExternalName', externalName: 'x.example' }), 0],
  ['a ServiceEntry without addresses', entry(['db.example']), 2],
  ['each host of it', entry(['a.example', 'b.example']), 4],
  ['a wildcard', entry(['*.example']), 0],
  ['a host that is an address', entry(['10.0.0.9']), 0],
  ['a ServiceEntry with an address', entry(['db.example'], { addresses: ['10.9.0.1'] }), 1],
  [
    'a ServiceEntry that stands for the address called',
    entry(['db.example'], { resolution: 'NONE', endpoints: undefined }),
    0,
  ],
]

for (const [name, object, count] of written) {
  test(`${name}: ${count} virtual addresses`, (t) => {
    const { registry } = compile([object])
    const vips = [...registry.services.values()].flatMap((each) => each.vips)
    t.is(new Set(vips).size, count)
  })
}

test('an address that somebody wrote is not assigned, and compiling again changes nothing', (t) => {
  const first = compile([kube({}), pod('a', '10.0.0.1')])
  const [vip = ''] = first.registry.services.get('shop/web.shop.svc.cluster.local')?.vips ?? []
  t.regex(vip, /^240\.240\./)
  const second = compile([kube({}), entry(['db.example'], { addresses: [vip] })])
  const [other] = second.registry.services.get('shop/web.shop.svc.cluster.local')?.vips ?? []
  t.not(other, vip)
  t.deepEqual(second.issues, [])
  t.deepEqual(compileWorld(second.world, second.places).registry, second.registry)
})
