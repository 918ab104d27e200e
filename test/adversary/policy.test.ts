// Who is let in, by policies on L4 fields: the same verdict on the direct path, through a tunnel and
// between nodes, and for plaintext from outside the mesh; and whose rights a new pod has at an
// address that was another's.
import test from 'ava'
import type { ConnectionPath } from '../../src/model/access-entry.ts'
import {
  authorizationPolicy,
  meshConfig,
  peerAuthentication,
  podResource,
  type Resource,
} from '../lab/mesh-config.ts'
import type { Pod } from '../lab/pod.ts'
import { server } from '../lab/programs.ts'
import { Mesh, serve, servicePort } from '../mesh/mesh.ts'
import { Probe } from './probe.ts'

const PORT = 7000
const OTHER_PORT = 7001
const DRAIN = { drainTimeoutMs: '100ms' }

type Caller = 'alice' | 'bob' | 'carol' | 'plain'
const CALLERS: readonly Caller[] = ['alice', 'bob', 'carol', 'plain']

let mesh: Mesh
/** Servers of the namespace store, on the callers' node and on the other. */
let near: Pod
let far: Pod
let carol: Pod
const pods = new Map<string, Pod>()
const probes = new Map<string, Probe>()

test.before(async () => {
  mesh = await Mesh.open()
  const { one, two, lab } = mesh
  for (const [name, namespace] of [
    ['alice', 'shop'],
    ['bob', 'shop'],
    ['carol', 'other'],
  ] as const) {
    pods.set(name, await mesh.pod(one, name, { namespace }))
  }
  carol = pod('carol')
  near = await mesh.pod(one, 'near', { namespace: 'store' })
  far = await mesh.pod(two, 'far', { namespace: 'store' })
  const ports = [PORT, OTHER_PORT]
  lab.config.write('services.yaml', [
    inStore(mesh.service('near', { app: 'near' }, ports, 'tcp')),
    inStore(mesh.service('far', { app: 'far' }, ports, 'tcp')),
  ])
  lab.config.write('mesh.yaml', [meshConfig(DRAIN)])
  await mesh.start()
  for (const each of [near, far, carol]) {
    await serve(each, ...ports.map((port) => server('echo', port)))
  }
  for (const [name, each] of pods) probes.set(name, await Probe.start(each))
  // Outside the mesh: each node itself, towards the pods of the other.
  probes.set('plain to near', await Probe.start(two))
  probes.set('plain to carol', await Probe.start(two))
  probes.set('plain to far', await Probe.start(one))
})

test.after.always(() => mesh?.close())

const inStore = (resource: Resource): Resource => ({
  ...resource,
  metadata: { ...resource.metadata, namespace: 'store' },
})

function pod(name: string): Pod {
  const found = pods.get(name)
  if (found === undefined) throw new Error(`no pod ${name}`)
  return found
}

function probe(name: string): Probe {
  const found = probes.get(name)
  if (found === undefined) throw new Error(`no probe ${name}`)
  return found
}

type Server = 'near' | 'far'

/** From within the mesh to the service, from outside to the pod. */
function ask(caller: Caller, at: Server, port: number) {
  if (caller === 'plain') return probe(`plain to ${at}`).ask((at === 'near' ? near : far).ip, port)
  return probe(caller).ask(mesh.vip(at).v4, servicePort(port))
}

/** Who gets through. */
async function admitted(at: Server, port: number): Promise<Caller[]> {
  const verdicts = await Promise.all(CALLERS.map((caller) => ask(caller, at, port)))
  return CALLERS.filter((_, index) => verdicts[index]?.ok)
}

interface Case {
  readonly name: string
  readonly policies: () => readonly Resource[]
  readonly allowed: readonly Caller[]
  /** At the other port, where that differs. */
  readonly allowedThere?: readonly Caller[]
}

let count = 0
const policy = (spec: object, namespace = 'store'): Resource =>
  authorizationPolicy(`policy-${count++}`, namespace, spec)
const from = (source: object, action = 'ALLOW') =>
  policy({ action, rules: [{ from: [{ source }] }] })
const to = (operation: object, action = 'ALLOW') =>
  policy({ action, rules: [{ to: [{ operation }] }] })
const when = (key: string, values: object) => policy({ rules: [{ when: [{ key, ...values }] }] })

const ALICE = 'cluster.local/ns/shop/sa/alice'
const BOB = 'cluster.local/ns/shop/sa/bob'
const none: readonly Caller[] = []
const named: readonly Caller[] = ['alice', 'bob', 'carol']
const butAlice: readonly Caller[] = ['bob', 'carol', 'plain']

const CASES: readonly Case[] = [
  { name: 'no policy admits everybody', policies: () => [], allowed: CALLERS },
  { name: 'an empty spec admits nobody', policies: () => [policy({})], allowed: none },
  {
    name: 'an empty rule admits everybody',
    policies: () => [policy({ rules: [{}] })],
    allowed: CALLERS,
  },
  { name: 'principals', policies: () => [from({ principals: [ALICE] })], allowed: ['alice'] },
  {
    name: 'principals by prefix and suffix',
    policies: () => [from({ principals: ['cluster.local/ns/other/*', '*/sa/alice'] })],
    allowed: ['alice', 'carol'],
  },
  { name: 'any principal', policies: () => [from({ principals: ['*'] })], allowed: named },
  { name: 'notPrincipals', policies: () => [from({ notPrincipals: [ALICE] })], allowed: butAlice },
  {
    name: 'namespaces',
    policies: () => [from({ namespaces: ['shop'] })],
    allowed: ['alice', 'bob'],
  },
  {
    name: 'notNamespaces',
    policies: () => [from({ notNamespaces: ['shop'] })],
    allowed: ['carol', 'plain'],
  },
  {
    name: 'serviceAccounts',
    policies: () => [from({ serviceAccounts: ['shop/alice', 'bob'] })],
    allowed: ['alice'],
  },
  {
    name: 'notServiceAccounts',
    policies: () => [from({ notServiceAccounts: ['shop/alice'] })],
    allowed: butAlice,
  },
  {
    name: 'ipBlocks',
    policies: () => [from({ ipBlocks: [`${pod('alice').ip}/32`, pod('carol').ip] })],
    allowed: ['alice', 'carol'],
  },
  {
    name: 'notIpBlocks',
    policies: () => [from({ notIpBlocks: [pod('alice').ip] })],
    allowed: butAlice,
  },
  {
    name: 'a range less an address',
    policies: () => [from({ ipBlocks: ['10.244.1.0/24'], notIpBlocks: [pod('bob').ip] })],
    allowed: ['alice', 'carol'],
  },
  {
    name: 'ports',
    policies: () => [to({ ports: [String(PORT)] })],
    allowed: CALLERS,
    allowedThere: none,
  },
  {
    name: 'notPorts',
    policies: () => [to({ notPorts: [String(PORT)] })],
    allowed: none,
    allowedThere: CALLERS,
  },
  {
    name: 'source.namespace',
    policies: () => [when('source.namespace', { notValues: ['other'] })],
    allowed: ['alice', 'bob', 'plain'],
  },
  {
    name: 'destination.port',
    policies: () => [when('destination.port', { values: [String(OTHER_PORT)] })],
    allowed: none,
    allowedThere: CALLERS,
  },
  {
    name: 'all parts of a rule together',
    policies: () => [
      policy({
        rules: [
          {
            from: [{ source: { namespaces: ['shop'], notPrincipals: [BOB] } }],
            to: [{ operation: { ports: [String(PORT)] } }],
          },
        ],
      }),
    ],
    allowed: ['alice'],
    allowedThere: none,
  },
  {
    name: 'a DENY beats an ALLOW',
    policies: () => [from({ namespaces: ['shop'] }), from({ principals: [ALICE] }, 'DENY')],
    allowed: ['bob'],
  },
  {
    name: 'a DENY of everybody but one',
    policies: () => [from({ notPrincipals: [ALICE] }, 'DENY')],
    allowed: ['alice'],
  },
  {
    name: 'a DENY of a port',
    policies: () => [to({ ports: [String(OTHER_PORT)] }, 'DENY')],
    allowed: CALLERS,
    allowedThere: none,
  },
  {
    name: 'a policy of the root namespace',
    policies: () => [policy({}, 'istio-system')],
    allowed: none,
  },
  {
    name: 'policies for others',
    policies: () => [policy({}, 'shop'), policy({ selector: { matchLabels: { app: 'nobody' } } })],
    allowed: CALLERS,
  },
]

for (const directPath of ['node', 'off'] as const) {
  const within = directPath === 'node' ? 'direct' : 'tunnel'

  test(`directPath ${directPath} takes the ${within} within the node`, async (t) => {
    await mesh.apply('mesh.yaml', [meshConfig({ ...DRAIN, directPath })])
    const paths = async (caller: Caller, at: Server): Promise<ConnectionPath> => {
      const report = await ask(caller, at, PORT)
      t.true(report.ok)
      return (await mesh.outbound(report)).path
    }
    t.is(await paths('alice', 'near'), within)
    t.is(await paths('alice', 'far'), 'tunnel')
  })

  for (const { name, policies, allowed, allowedThere = allowed } of CASES) {
    test(`${name} (${within} within the node)`, async (t) => {
      await mesh.apply('policies.yaml', policies())
      for (const at of ['near', 'far'] as const) {
        t.deepEqual(await admitted(at, PORT), allowed, at)
        t.deepEqual(await admitted(at, OTHER_PORT), allowedThere, `${at}, the other port`)
      }
    })
  }
}

type Door = 'near' | 'near, the other port' | 'far' | 'carol'

const STRICT = { mtls: { mode: 'STRICT' } }
const PERMISSIVE = { mtls: { mode: 'PERMISSIVE' } }
const UNSET = { mtls: { mode: 'UNSET' } }
const ROOT = 'istio-system'
const selector = { matchLabels: { app: 'near' } }
const onPort = (mode: string) => ({ portLevelMtls: { [OTHER_PORT]: { mode } } })

/** Where plaintext is let in. */
const MODES: readonly (readonly [
  string,
  readonly (readonly [string, object])[],
  readonly Door[],
])[] = [
  ['nothing written', [], ['near', 'near, the other port', 'far', 'carol']],
  ['STRICT for the mesh', [[ROOT, STRICT]], []],
  ['STRICT for a namespace', [['store', STRICT]], ['carol']],
  ['STRICT for a workload', [['store', { ...STRICT, selector }]], ['far', 'carol']],
  [
    'STRICT for a port',
    [['store', { ...PERMISSIVE, ...onPort('STRICT'), selector }]],
    ['near', 'far', 'carol'],
  ],
  [
    'a port open under STRICT',
    [['store', { ...STRICT, ...onPort('PERMISSIVE'), selector }]],
    ['near, the other port', 'far', 'carol'],
  ],
  [
    'a namespace open under a STRICT mesh',
    [
      [ROOT, STRICT],
      ['store', PERMISSIVE],
    ],
    ['near', 'near, the other port', 'far'],
  ],
  [
    'a workload open under a STRICT namespace',
    [
      ['store', STRICT],
      ['store', { mtls: { mode: 'DISABLE' }, selector }],
    ],
    ['near', 'near, the other port', 'carol'],
  ],
  [
    'UNSET, which inherits',
    [
      [ROOT, STRICT],
      ['store', UNSET],
      ['other', PERMISSIVE],
    ],
    ['carol'],
  ],
]

for (const [name, written, open] of MODES) {
  test(`PeerAuthentication, ${name}: plaintext enters where it may`, async (t) => {
    mesh.lab.config.remove('policies.yaml')
    await mesh.apply(
      'modes.yaml',
      written.map(([namespace, spec], at) => peerAuthentication(`mode-${at}`, namespace, spec)),
    )
    const doors: Readonly<Record<Door, () => Promise<{ readonly ok: boolean }>>> = {
      near: () => ask('plain', 'near', PORT),
      'near, the other port': () => ask('plain', 'near', OTHER_PORT),
      far: () => ask('plain', 'far', PORT),
      carol: () => probe('plain to carol').ask(carol.ip, PORT),
    }
    const found: Door[] = []
    for (const [door, knock] of Object.entries(doors)) {
      if ((await knock()).ok) found.push(door as Door)
    }
    t.deepEqual(found, open)
    // Tunnels and the direct path enter everywhere.
    for (const at of ['near', 'far'] as const) {
      t.true((await ask('alice', at, PORT)).ok, at)
      t.true((await ask('alice', at, OTHER_PORT)).ok, at)
    }
    t.true((await probe('alice').ask(carol.ip, PORT)).ok)
  })
}

test('a pod at the address of one that is gone has none of its rights', async (t) => {
  const { lab, one } = mesh
  lab.config.remove('modes.yaml')
  lab.config.write('mesh.yaml', [meshConfig({ ...DRAIN, directPath: 'node' })])
  await mesh.apply('policies.yaml', [from({ principals: [ALICE] })])
  const reach = async (caller: { readonly ask: Probe['ask'] }) => [
    (await caller.ask(mesh.vip('near').v4, servicePort(PORT))).ok,
    (await caller.ask(mesh.vip('far').v4, servicePort(PORT))).ok,
    (await caller.ask(far.ip, PORT)).ok,
  ]
  t.deepEqual(await reach(probe('alice')), [true, true, true])

  const alice = pod('alice')
  await alice.remove()
  const { v4 = '', v6 = '' } = alice
  const heir = await one.pod('heir', { namespace: 'shop', v4, v6 })
  lab.config.remove('pod-shop-alice.yaml')
  lab.config.write('pod-shop-heir.yaml', [podResource(heir)])
  await mesh.enrolled(heir)
  t.is(heir.ip, alice.ip)
  const successor = await Probe.start(heir)
  t.deepEqual(await reach(successor), [false, false, false])

  await mesh.apply('policies.yaml', [from({ principals: ['cluster.local/ns/shop/sa/heir'] })])
  t.deepEqual(
    await reach(successor),
    [true, true, true],
    'it is reached, and has rights of its own',
  )
})
