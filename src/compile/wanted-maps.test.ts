import test from 'ava'
import fc from 'fast-check'
import { type AuthorizationPolicy, EMPTY_MATCH, type PolicyMatch } from '../model/authorization.ts'
import { LIMITS } from '../model/limits.ts'
import { DEFAULT_MESH_SETTINGS } from '../model/mesh-settings.ts'
import type { PortProtocol, Service } from '../model/service.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'
import type { WantedMaps, WantedVerdict } from '../model/wanted-maps.ts'
import { identityOf, type Workload } from '../model/workload.ts'
import { authorize, compilePolicies } from '../policy/authorize.ts'
import { tablesFor } from './tables.ts'
import { wantedMaps } from './wanted-maps.ts'

type Fields = Partial<Workload> & { readonly name: string }

function workload(fields: Fields): Workload {
  const { name } = fields
  return {
    uid: name,
    namespace: 'shop',
    addresses: [],
    trustDomain: 'td',
    serviceAccount: 'sa',
    node: 'n1',
    network: '',
    clusterId: 'c',
    labels: {},
    tunnel: 'hbone',
    hostNetwork: false,
    status: 'healthy',
    capacity: 1,
    locality: { region: '', zone: '', subzone: '' },
    services: {},
    workloadName: name,
    workloadType: 'pod',
    canonicalName: name,
    canonicalRevision: 'latest',
    directPorts: [],
    ...fields,
  }
}

function service(name: string, fields: Partial<Service> = {}): Service {
  return {
    key: `shop/${name}`,
    name,
    namespace: 'shop',
    hostname: name,
    vips: ['10.9.0.1'],
    assigned: false,
    ports: [{ port: 80, targetPort: 8080, name: 'x', protocol: 'tcp' }],
    subjectAltNames: [],
    resolution: 'static',
    external: false,
    annotatedDirect: false,
    allowUnhealthy: false,
    ...fields,
  }
}

function tables(
  workloads: readonly Workload[],
  services: readonly Service[],
  policies: readonly AuthorizationPolicy[] = [],
  mesh: Partial<typeof DEFAULT_MESH_SETTINGS> = {},
): Tables {
  return tablesFor(
    {
      workloads: new Map(workloads.map((each) => [each.uid, each])),
      services: new Map(services.map((each) => [each.key, each])),
    },
    {
      mesh: { ...DEFAULT_MESH_SETTINGS, ...mesh },
      authorization: new Map(policies.map((each) => [each.key, each])),
      peerAuthentication: new Map(),
    },
    1,
  )
}

/** Allows, in the namespace, what the match says and nothing else. */
const allowing = (match: Partial<PolicyMatch>): AuthorizationPolicy => ({
  key: 'shop/p',
  name: 'p',
  namespace: 'shop',
  action: 'allow',
  rules: [{ clauses: [[{ ...EMPTY_MATCH, ...match }]] }],
  dryRun: false,
  origin: 'x:1',
})

/** As the kernel looks a verdict up: the more specific entry wins, and none means the agent. */
function lookup(maps: WantedMaps, source: string, destination: string, port: number) {
  const keys = [
    [source, port] as const,
    [source, 0] as const,
    ['*', port] as const,
    ['*', 0] as const,
  ]
  for (const [from, at] of keys) {
    const found = maps.verdicts.filter(
      (each) => each.source === from && each.destination === destination && each.port === at,
    )
    if (found.length > 1) throw new Error('two entries for one key')
    if (found[0] !== undefined) return found[0].verdict
  }
  return 'agent'
}

const portList = fc.subarray([80, 81], { minLength: 0 })
const exact = fc
  .constantFrom('td/ns/shop/sa/a', 'td/ns/shop/sa/b')
  .map((value) => ({ kind: 'exact' as const, value }))
const some = <T>(arbitrary: fc.Arbitrary<T>) => fc.array(arbitrary, { maxLength: 2 })
const ranges = some(fc.constantFrom('10.0.0.0/31', '10.0.0.2', 'fd00::/16', '0.0.0.0/0'))

const matches: fc.Arbitrary<PolicyMatch> = fc
  .record(
    {
      principals: some(exact),
      notPrincipals: some(exact),
      namespaces: some(fc.constant({ kind: 'exact' as const, value: 'shop' })),
      sourceIps: ranges,
      notSourceIps: ranges,
      destinationIps: ranges,
      destinationPorts: portList,
      notDestinationPorts: portList,
      serviceAccounts: some(fc.constant({ namespace: 'shop', serviceAccount: 'a' })),
    },
    { requiredKeys: [] },
  )
  .map((fields) => ({ ...EMPTY_MATCH, ...fields }))

const policies = fc
  .array(
    fc.record({
      action: fc.constantFrom('allow' as const, 'deny' as const),
      selector: fc.constantFrom(undefined, { app: 'a' }),
      dryRun: fc.boolean(),
      rules: fc.array(
        fc.record({ clauses: fc.array(fc.array(matches, { maxLength: 2 }), { maxLength: 2 }) }),
        { maxLength: 2 },
      ),
    }),
    { maxLength: 3 },
  )
  .map((list) =>
    list.map(
      ({ selector, ...fields }, at): AuthorizationPolicy => ({
        ...fields,
        ...(selector === undefined ? {} : { selector }),
        key: `shop/p${at}`,
        name: `p${at}`,
        namespace: 'shop',
        origin: 'x:1',
      }),
    ),
  )

const PORTS = [80, 81, 82]
const pods = fc
  .array(
    fc.record({
      node: fc.constantFrom('n1', 'n1', 'n2'),
      tunnel: fc.constantFrom('hbone' as const, 'hbone' as const, 'none' as const),
      families: fc.constantFrom('4', '6', '46'),
      serviceAccount: fc.constantFrom('a', 'b'),
      labels: fc.constantFrom<Readonly<Record<string, string>>>({}, { app: 'a' }),
      directPorts: fc.subarray(PORTS),
    }),
    { minLength: 1, maxLength: 5 },
  )
  .map((list) =>
    list.map(({ families, ...fields }, at) =>
      workload({
        name: `w${at}`,
        ...fields,
        addresses: [...families].map((family) => (family === '4' ? `10.0.0.${at}` : `fd00::${at}`)),
      }),
    ),
  )

test('every verdict in the maps is the one the proxy would give, or the agent is asked', (t) => {
  const seen: Record<WantedVerdict['verdict'], number> = { allow: 0, deny: 0, agent: 0 }
  fc.assert(
    fc.property(pods, policies, (list, rules) => {
      const all = tables(list, [], rules)
      const maps = wantedMaps(all, 'n1')
      const workloads = [...all.workloads.values()]
      for (const source of workloads) {
        for (const destination of workloads) {
          for (const port of PORTS) {
            const verdict = lookup(maps, source.uid, destination.uid, port)
            seen[verdict]++
            if (verdict === 'agent') continue
            t.true(destination.directPorts.includes(port), 'only candidate ports')
            t.is(destination.node, 'n1')
            for (const facts of connections(source, destination, port)) {
              const bound = compilePolicies(
                destination.policies.flatMap((key) => all.policies.get(key) ?? []),
              )
              t.is(authorize(bound, facts).kind, verdict)
            }
          }
        }
      }
    }),
    { numRuns: 400, verbose: true },
  )
  t.true(seen.allow > 0 && seen.deny > 0 && seen.agent > 0, JSON.stringify(seen))
})

/** Every connection the pair can have. */
function connections(source: TableWorkload, destination: TableWorkload, port: number) {
  return destination.addresses.flatMap((destinationIp) =>
    source.addresses
      .filter((ip) => ip.includes(':') === destinationIp.includes(':'))
      .map((sourceIp) => ({
        peer: { kind: 'verified' as const, id: identityOf(source), by: 'kernel' as const },
        sourceIp,
        destinationIp,
        destinationPort: port,
      })),
  )
}

test('a workload that comes later finds no verdict made for others', (t) => {
  const allow = allowing({ principals: [{ kind: 'exact', value: 'td/ns/shop/sa/sa' }] })
  const list = [
    workload({ name: 'a', addresses: ['10.0.0.1'] }),
    workload({ name: 'b', addresses: ['10.0.0.2'], directPorts: [80] }),
  ]
  const maps = wantedMaps(tables(list, [], [allow]), 'n1')
  t.is(lookup(maps, 'a', 'b', 80), 'allow')
  t.is(lookup(maps, 'newcomer', 'b', 80), 'agent')
  t.is(lookup(wantedMaps(tables(list, []), 'n1'), 'newcomer', 'b', 80), 'allow', 'no policy at all')
})

test('an address compared in one family of two leaves the verdict to the agent', (t) => {
  const allow = allowing({ sourceIps: ['10.0.0.0/8'] })
  const list = [
    workload({ name: 'dual', addresses: ['10.0.0.1', 'fd00::1'] }),
    workload({ name: 'v4', addresses: ['10.0.0.2'] }),
    workload({ name: 'v6', addresses: ['fd00::3'] }),
    workload({ name: 'b', addresses: ['10.0.0.4', 'fd00::4'], directPorts: [80] }),
  ]
  const maps = wantedMaps(tables(list, [], [allow]), 'n1')
  t.deepEqual(
    ['dual', 'v4', 'v6'].map((source) => lookup(maps, source, 'b', 80)),
    ['agent', 'allow', 'deny'],
  )
})

test('more verdicts than the limit leave whole destinations to the agent', (t) => {
  const allow = allowing({ principals: [{ kind: 'presence', value: '' }] })
  const count = 300
  const list = Array.from({ length: count }, (_, at) =>
    workload({ name: `w${at}`, addresses: [`10.1.${at >> 8}.${at & 255}`], directPorts: [80] }),
  )
  const { verdicts } = wantedMaps(tables(list, [], [allow]), 'n1')
  t.is(verdicts.length, Math.floor(LIMITS.directVerdictsMax / count) * count)
})

test('a policy that is named and missing leaves the verdict to the agent', (t) => {
  const all = tables([workload({ name: 'b', addresses: ['10.0.0.2'], directPorts: [80] })], [])
  const entry = all.workloads.get('b')
  if (entry === undefined) return t.fail()
  const draft = all.workloads.draft()
  draft.set('b', { ...entry, policies: ['shop/gone'] })
  t.is(lookup(wantedMaps({ ...all, workloads: draft.commit() }, 'n1'), 'b', 'b', 80), 'agent')
})

const behind = (name: string, ip: string, fields: Partial<Workload> = {}): Workload =>
  workload({
    name,
    addresses: [ip],
    services: { 'shop/s': [{ servicePort: 80, targetPort: 8080 }] },
    directPorts: [8080],
    ...fields,
  })

const port = (protocol: PortProtocol) => ({
  ports: [{ port: 80, targetPort: 8080, name: 'x', protocol }],
})
const A = behind('a', '10.0.0.1')
const B = behind('b', '10.0.0.2')

/** What becomes of the service's virtual address; undefined: the agent has it. */
const cases: readonly (readonly [
  string,
  readonly Workload[],
  Partial<Service>,
  readonly string[] | undefined,
])[] = [
  ['all endpoints here', [A, B], {}, ['10.0.0.1:8080', '10.0.0.2:8080']],
  ['an endpoint on another node', [A, behind('b', '10.0.0.2', { node: 'n2' })], {}, undefined],
  ['an endpoint outside the mesh', [A, behind('b', '10.0.0.2', { tunnel: 'none' })], {}, undefined],
  [
    'an endpoint on the host network',
    [A, behind('b', '10.0.0.2', { hostNetwork: true })],
    {},
    undefined,
  ],
  ['an endpoint of the other family only', [A, behind('b', 'fd00::2')], {}, undefined],
  [
    'an endpoint that serves HTTP there too',
    [A, behind('b', '10.0.0.2', { directPorts: [] })],
    {},
    undefined,
  ],
  ['endpoints of different weight', [A, behind('b', '10.0.0.2', { capacity: 2 })], {}, undefined],
  [
    'an unhealthy endpoint',
    [A, behind('b', '10.0.0.2', { status: 'unhealthy' })],
    {},
    ['10.0.0.1:8080'],
  ],
  ['unhealthy endpoints only', [behind('a', '10.0.0.1', { status: 'unhealthy' })], {}, undefined],
  [
    'an unhealthy endpoint that is wanted',
    [behind('a', '10.0.0.1', { status: 'unhealthy' })],
    { allowUnhealthy: true },
    ['10.0.0.1:8080'],
  ],
  ['no endpoints', [], {}, undefined],
  ['a port declared HTTP', [A], port('http'), undefined],
  ['an undeclared port', [A], port('undeclared'), undefined],
  [
    'an undeclared port, annotated',
    [A],
    { ...port('undeclared'), annotatedDirect: true },
    ['10.0.0.1:8080'],
  ],
  ['resolution none', [A], { resolution: 'none' }, undefined],
  ['a range', [A], { vips: ['10.9.0.0/24'] }, undefined],
]

for (const [title, list, fields, expected] of cases) {
  test(`a service with ${title} ${expected === undefined ? 'takes the agent' : 'is direct'}`, (t) => {
    const maps = wantedMaps(tables(list, [service('s', fields)]), 'n1')
    const found = maps.services.find(({ ip }) => ip.startsWith('10.9.'))
    const endpoints = found?.backends.map(({ ip, port }) => `${ip}:${port}`)
    t.deepEqual(endpoints, expected as never)
  })
}

test('a workload is reached directly at its own address too, UDP as UDP', (t) => {
  const maps = wantedMaps(tables([A], [service('s', port('udp'))]), 'n1')
  t.deepEqual(
    maps.services.map(({ ip, port, protocol }) => `${ip}:${port}/${protocol}`),
    ['10.0.0.1:8080/udp', '10.9.0.1:80/udp'],
  )
})

test('an address that is a service first is not a workload to the kernel', (t) => {
  for (const vip of ['10.0.0.1', '10.0.0.0/24']) {
    const other = service('other', { vips: [vip], ports: [] })
    const maps = wantedMaps(tables([A], [service('s'), other]), 'n1')
    t.deepEqual(
      maps.services.map(({ ip }) => ip),
      ['10.9.0.1'],
    )
  }
})

test('nothing is wanted when the direct path is off, or of another node', (t) => {
  const off = wantedMaps(tables([A], [service('s')], [], { directPath: 'off' }), 'n1')
  t.deepEqual(off, { version: 1, services: [], verdicts: [] })
  t.deepEqual(wantedMaps(tables([A], [service('s')]), 'n2').services, [])
  t.deepEqual(
    wantedMaps(tables([behind('a', '10.0.0.1', { node: '' })], [service('s')]), '').services,
    [],
  )
})
