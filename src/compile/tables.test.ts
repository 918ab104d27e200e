import test from 'ava'
import fc from 'fast-check'
import type { AuthorizationPolicy } from '../model/authorization.ts'
import { LIMITS } from '../model/limits.ts'
import { DEFAULT_MESH_SETTINGS } from '../model/mesh-settings.ts'
import type { PeerAuthentication, Registry, Rules } from '../model/registry.ts'
import type { Service } from '../model/service.ts'
import type { Tables } from '../model/tables.ts'
import type { Workload } from '../model/workload.ts'
import { EMPTY_TABLES, TablesStore } from './apply-patch.ts'
import { diffTables, TABLE_NAMES, toPatches } from './diff.ts'
import { tablesFor } from './tables.ts'

interface SmallWorld {
  readonly registry: Registry
  readonly rules: Rules
}

const NAMESPACES = ['shop', 'bank', 'root']
const LABELS = [{}, { app: 'a' }, { app: 'b' }] as const
const namespaces = fc.constantFrom(...NAMESPACES)
const labels = fc.constantFrom<Readonly<Record<string, string>>>(...LABELS)

const workloads = fc
  .array(
    fc.record({
      namespace: namespaces,
      labels,
      node: fc.constantFrom('n1', 'n2'),
      tunnel: fc.constantFrom('hbone' as const, 'none' as const),
      network: fc.constantFrom('', 'other'),
      hostNetwork: fc.boolean(),
      families: fc.constantFrom('4', '6', '46'),
      services: fc.subarray([0, 1, 2]),
    }),
    { maxLength: 8 },
  )
  .map((list) =>
    list.map(({ families, services, ...fields }, at): Workload => {
      const name = `w${at}`
      return {
        ...fields,
        uid: `c//Pod/${fields.namespace}/${name}`,
        name,
        addresses: [...families].map((family) => (family === '4' ? `10.0.0.${at}` : `fd00::${at}`)),
        trustDomain: 'td',
        serviceAccount: `sa${at % 3}`,
        clusterId: 'c',
        status: 'healthy',
        capacity: 1,
        locality: { region: '', zone: '', subzone: '' },
        services: Object.fromEntries(
          services.map((each) => [`shop/s${each}`, [{ servicePort: 80, targetPort: 8080 }]]),
        ),
        workloadName: name,
        workloadType: 'pod',
        canonicalName: name,
        canonicalRevision: 'latest',
        directPorts: services.length > 0 ? [8080] : [],
      }
    }),
  )

const services = fc.array(fc.constantFrom('10.9.0.1', '10.9.0.0/24', 'fd09::1'), { maxLength: 2 })
const policies = fc.array(
  fc.record({
    namespace: namespaces,
    selector: fc.option(labels, { nil: undefined }),
    action: fc.constantFrom('allow' as const, 'deny' as const),
  }),
  { maxLength: 4 },
)
const peers = fc.array(
  fc.record({ namespace: namespaces, mode: fc.constantFrom('strict' as const, 'unset' as const) }),
  { maxLength: 3 },
)

const worlds = fc
  .record({
    workloads,
    vips: fc.tuple(services, services, services),
    policies,
    peers,
    off: fc.boolean(),
  })
  .map(({ workloads, vips, policies, peers, off }): SmallWorld => {
    const named = vips.map(
      (vips, at): Service => ({
        key: `shop/s${at}`,
        name: `s${at}`,
        namespace: 'shop',
        hostname: `s${at}`,
        vips,
        assigned: false,
        ports: [{ port: 80, targetPort: 8080, name: 'tcp', protocol: 'tcp' }],
        subjectAltNames: [],
        resolution: 'static',
        external: false,
        annotatedDirect: false,
        allowUnhealthy: false,
      }),
    )
    const authorization = policies.map(
      ({ namespace, selector, action }, at): AuthorizationPolicy => ({
        key: `${namespace}/p${at}`,
        name: `p${at}`,
        namespace,
        action,
        ...(selector === undefined ? {} : { selector }),
        rules: [{ clauses: [] }],
        dryRun: false,
        origin: 'x:1',
      }),
    )
    const authentication = peers.map(
      ({ namespace, mode }, at): PeerAuthentication => ({
        key: `${namespace}/a${at}`,
        namespace,
        mode,
        ports: {},
        createdMs: at,
      }),
    )
    return {
      registry: {
        workloads: new Map(workloads.map((each) => [each.uid, each])),
        services: new Map(named.map((each) => [each.key, each])),
      },
      rules: {
        mesh: {
          ...DEFAULT_MESH_SETTINGS,
          rootNamespace: 'root',
          directPath: off ? 'off' : 'node',
        },
        authorization: new Map(authorization.map((each) => [each.key, each])),
        peerAuthentication: new Map(authentication.map((each) => [each.key, each])),
      },
    }
  })

/** Everything in the tables, in a form that compares. */
const contents = (tables: Tables) => ({
  version: tables.version,
  mesh: tables.mesh,
  ...Object.fromEntries(
    TABLE_NAMES.map((name) => [
      name,
      Object.fromEntries([...tables[name]].sort(([a], [b]) => (a < b ? -1 : 1))),
    ]),
  ),
})

test('patches applied are the full compile, whatever came before', (t) => {
  fc.assert(
    fc.property(fc.array(worlds, { minLength: 1, maxLength: 5 }), (sequence) => {
      const store = new TablesStore()
      let held: Tables | undefined
      for (const [at, { registry, rules }] of sequence.entries()) {
        const version = at + 1
        const tables = tablesFor(registry, rules, version, held)
        // What goes between threads is cloned on the way.
        const patches = structuredClone(toPatches(diffTables(held, tables), version, tables.mesh))
        const applied = patches.map((patch) => store.receive(patch))
        t.true(
          applied.slice(0, -1).every((each) => each === undefined),
          'only commit shows',
        )
        t.deepEqual(contents(store.tables), contents(tablesFor(registry, rules, version)))
        held = tables
      }
    }),
    { numRuns: 150, verbose: true },
  )
})

test('unchanged entries and maps stay the same objects', (t) => {
  fc.assert(
    fc.property(worlds, ({ registry, rules }) => {
      const before = tablesFor(registry, rules, 1)
      const after = tablesFor(structuredClone(registry), structuredClone(rules), 2, before)
      t.is(after.version, 2)
      for (const name of TABLE_NAMES) t.is<unknown, unknown>(after[name], before[name])
      t.is(after.mesh, before.mesh)
      t.deepEqual(diffTables(before, after), [])
    }),
    { numRuns: 50, verbose: true },
  )
})

test('a worker with other objects of the same content gets no changes', (t) => {
  fc.assert(
    fc.property(worlds, ({ registry, rules }) => {
      const one = tablesFor(registry, rules, 1)
      t.deepEqual(diffTables(one, tablesFor(structuredClone(registry), rules, 2)), [])
    }),
    { numRuns: 50, verbose: true },
  )
})

const many = (count: number): Registry => ({
  services: new Map(),
  workloads: new Map(
    Array.from({ length: count }, (_, at): [string, Workload] => {
      const [base] = fc.sample(
        workloads.filter((list) => list.length > 0),
        { numRuns: 1, seed: 7 },
      )
      const uid = `c//Pod/shop/w${at}`
      return [
        uid,
        { ...(base?.[0] as Workload), uid, network: '', hostNetwork: false, addresses: [] },
      ]
    }),
  ),
})

const NO_RULES: Rules = {
  mesh: DEFAULT_MESH_SETTINGS,
  authorization: new Map(),
  peerAuthentication: new Map(),
}

test('slices are bounded, and a change of one entry is a patch of one entry', (t) => {
  const count = LIMITS.patchSliceEntries * 2 + 1
  const registry = many(count)
  const before = tablesFor(registry, NO_RULES, 1)
  const slices = toPatches(diffTables(undefined, before), 1, before.mesh)
  t.deepEqual(
    slices.map((patch) => (patch.kind === 'slice' ? patch.changes.length : 'commit')),
    [LIMITS.patchSliceEntries, LIMITS.patchSliceEntries, 1, 'commit'],
  )
  const [uid, first] = [...registry.workloads][0] ?? []
  if (uid === undefined || first === undefined) return t.fail()
  const changed = new Map(registry.workloads).set(uid, { ...first, status: 'unhealthy' })
  const after = tablesFor({ ...registry, workloads: changed }, NO_RULES, 2, before)
  t.deepEqual(
    diffTables(before, after).map(({ table, key }) => `${table} ${key}`),
    [`workloads ${uid}`],
  )
})

test('a reader keeps the version it began with', (t) => {
  const store = new TablesStore()
  const held = store.tables
  const tables = tablesFor(many(3), NO_RULES, 1)
  for (const patch of toPatches(diffTables(undefined, tables), 1, tables.mesh)) store.receive(patch)
  t.is(held.workloads.size, 0)
  t.is(store.tables.workloads.size, 3)
})

test('a version that was never committed leaves nothing behind', (t) => {
  const store = new TablesStore()
  const [abandoned] = toPatches(
    diffTables(undefined, tablesFor(many(3), NO_RULES, 1)),
    1,
    NO_RULES.mesh,
  )
  if (abandoned?.kind !== 'slice') return t.fail()
  store.receive(abandoned)
  const tables = tablesFor(many(1), NO_RULES, 2)
  for (const patch of toPatches(diffTables(EMPTY_TABLES, tables), 2, tables.mesh))
    store.receive(patch)
  t.deepEqual(contents(store.tables), contents(tables))
})

test('a patch that is not newer is a defect', (t) => {
  const store = new TablesStore()
  store.receive({ kind: 'commit', version: 5, mesh: DEFAULT_MESH_SETTINGS })
  t.throws(() => store.receive({ kind: 'commit', version: 5, mesh: DEFAULT_MESH_SETTINGS }))
})
