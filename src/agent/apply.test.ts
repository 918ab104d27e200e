import test from 'ava'
import { silentLog } from '../base/log.ts'
import { PersistentMap } from '../base/persistent-map.ts'
import type { Datapath, DirectConnection } from '../kernel/datapath.ts'
import { type AuthorizationPolicy, EMPTY_MATCH } from '../model/authorization.ts'
import { DEFAULT_MESH_SETTINGS } from '../model/mesh-settings.ts'
import type { Registry, Rules } from '../model/registry.ts'
import type { Tables } from '../model/tables.ts'
import { plainWorkload } from '../model/testing/workload.ts'
import type { Workload } from '../model/workload.ts'
import { Applier, directAllowed } from './apply.ts'

const workload = (name: string, ip: string): Workload => plainWorkload(name, { addresses: [ip] })

function denyPort(port: number): AuthorizationPolicy {
  return {
    key: 'shop/deny',
    name: 'deny',
    namespace: 'shop',
    action: 'deny',
    rules: [{ clauses: [[{ ...EMPTY_MATCH, destinationPorts: [port] }]] }],
    dryRun: false,
    origin: 'x.yaml:1',
  }
}

function mesh(policies: readonly AuthorizationPolicy[]): [Registry, Rules] {
  const workloads = [workload('a', '10.0.0.1'), workload('b', '10.0.0.2')]
  return [
    { workloads: new Map(workloads.map((each) => [each.uid, each])), services: new Map() },
    {
      mesh: DEFAULT_MESH_SETTINGS,
      authorization: new Map(policies.map((policy) => [policy.key, policy])),
      peerAuthentication: new Map(),
    },
  ]
}

const connection = (port: number): DirectConnection => ({
  socketCookie: BigInt(port),
  sourceUid: 'a',
  destinationUid: 'b',
  source: { ip: '10.0.0.1', port: 40_000 },
  destination: { ip: '10.0.0.2', port },
  version: 1,
  sentBytes: 0,
  receivedBytes: 0,
  srttUs: 0,
  startedNs: 0n,
  asked: { ip: '10.0.0.2', port },
})

function bench(live: readonly DirectConnection[], failing: { probes?: boolean } = {}) {
  const order: string[] = []
  const settings: string[] = []
  const probes: string[] = []
  let alive = [...live]
  const datapath = {
    configure: ({ unknown }: { unknown: string }) => {
      order.push('configure')
      settings.push(unknown)
    },
    setProbes: async (cgroups: readonly string[]) => {
      if (failing.probes === true) throw new Error('no room')
      probes.push(cgroups.join(' '))
      order.push('probes')
    },
    applyDenials: () => order.push('denials'),
    applyGeneration: () => order.push('generation'),
    liveDirect: async () => alive,
    endDirect: async (ended: readonly DirectConnection[]) => {
      order.push(`end ${ended.map((each) => each.destination.port).join()}`)
      alive = alive.filter((each) => !ended.includes(each))
      return ended.length
    },
  } as unknown as Datapath
  const applier = new Applier(
    {
      datapath,
      log: silentLog,
      toWorkers: async (_patches, version) => {
        // A turn of the loop: what must wait for the workers would come first otherwise.
        await new Promise((resolve) => setImmediate(resolve))
        order.push(`workers ${version}`)
      },
      recheckWorkers: async () => void order.push('recheck'),
    },
    { nodeName: 'one', workers: 2, cgroup2: '/cg' },
  )
  return { applier, order, settings, probes }
}

test('denials reach the kernel before the workers, permissions after, then all is judged twice', async (t) => {
  const { applier, order } = bench([connection(80), connection(81)])
  await applier.apply(...mesh([]))
  t.deepEqual(order.splice(0), [
    'probes',
    'configure',
    'workers 1',
    'configure',
    'generation',
    'recheck',
    'recheck',
  ])
  await applier.apply(...mesh([denyPort(81)]))
  t.deepEqual(order, [
    'denials',
    'configure',
    'workers 2',
    'configure',
    'generation',
    'recheck',
    'end 81',
    'recheck',
  ])
})

test('processes of no workload are let pass only when every worker knows', async (t) => {
  const { applier, settings } = bench([])
  const [registry, rules] = mesh([])
  await applier.apply(registry, rules)
  t.deepEqual(settings.splice(0), ['refuse', 'refuse'])
  const passing = { ...rules, mesh: { ...rules.mesh, unknown: 'pass' as const } }
  await applier.apply(registry, passing)
  t.deepEqual(settings.splice(0), ['refuse', 'pass'])
  await applier.apply(registry, rules)
  t.deepEqual(settings, ['refuse', 'refuse'])
})

test('probers lose their right before a change, and get it after', async (t) => {
  const { applier, order, probes } = bench([])
  const [registry, rules] = mesh([])
  const naming = (...probeCgroups: readonly string[]) => ({
    ...rules,
    mesh: { ...rules.mesh, probeCgroups },
  })
  await applier.apply(registry, naming('system.slice/kubelet.service'))
  t.deepEqual(probes.splice(0), ['/cg/system.slice/kubelet.service'])
  order.splice(0)
  await applier.apply(registry, naming('other'))
  t.deepEqual(probes.splice(0), ['', '/cg/other'])
  t.deepEqual(order, [
    'denials',
    'probes',
    'configure',
    'workers 2',
    'configure',
    'generation',
    'probes',
    'recheck',
    'recheck',
  ])
  await applier.apply(registry, naming('other'))
  t.deepEqual(probes, [])
})

test('probers the kernel cannot take hold up nothing, and are tried again', async (t) => {
  const failing = { probes: true }
  const { applier, order, probes } = bench([], failing)
  const [registry, rules] = mesh([])
  const named = { ...rules, mesh: { ...rules.mesh, probeCgroups: ['a'] } }
  await applier.apply(registry, named)
  t.true(order.includes('generation'))
  failing.probes = false
  await applier.apply(registry, named)
  t.deepEqual(probes, ['/cg/a'])
})

test('a worker that starts later is given everything that is in force', async (t) => {
  const { applier } = bench([])
  t.deepEqual(applier.fullPatches(), [])
  await applier.apply(...mesh([denyPort(81)]))
  const patches = applier.fullPatches()
  t.like(patches.at(-1), { kind: 'commit', version: 1 })
  const keys = patches.flatMap((patch) =>
    patch.kind === 'slice' ? patch.changes.map(({ table, key }) => `${table} ${key}`) : [],
  )
  for (const key of ['workloads a', 'workloads b', 'policies shop/deny']) {
    t.true(keys.includes(key), key)
  }
})

test('a direct connection lives only while both ends are known and allowed', async (t) => {
  const { applier } = bench([])
  const tables = await applier.apply(...mesh([denyPort(81)]))
  t.true(directAllowed(tables, connection(80)))
  t.false(directAllowed(tables, connection(81)))
  t.false(directAllowed(tables, { ...connection(80), sourceUid: 'gone' }))
  t.false(directAllowed(tables, { ...connection(80), destinationUid: 'gone' }))
  const off: Tables = { ...tables, mesh: { ...tables.mesh, directPath: 'off' } }
  t.false(directAllowed(off, connection(80)))
  const none: Tables = { ...tables, workloads: PersistentMap.empty() }
  t.false(directAllowed(none, connection(80)))
})
