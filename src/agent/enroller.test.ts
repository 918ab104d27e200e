import test from 'ava'
import { manualClock } from '../base/clock.ts'
import { memoryLog } from '../base/log.ts'
import { PersistentMap } from '../base/persistent-map.ts'
import { EMPTY_TABLES } from '../compile/apply-patch.ts'
import type { CgroupWatch, PopulatedCgroup } from '../discovery/cgroup-watch.ts'
import type { Containers } from '../discovery/containers.ts'
import type { Datapath } from '../kernel/datapath.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { ContainerFacts } from '../model/container.ts'
import { DEFAULT_MESH_SETTINGS } from '../model/mesh-settings.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'
import { plainWorkload } from '../model/testing/workload.ts'
import { Enroller } from './enroller.ts'
import { Troubles } from './troubles.ts'

function workload(name: string, more: Partial<TableWorkload> = {}): TableWorkload {
  return {
    ...plainWorkload(name),
    match: { kind: 'cgroup', pattern: `shop_${name}` },
    policies: [],
    peer: { mode: 'permissive', ports: {}, by: 'default' },
    ...more,
  }
}

function tables(...workloads: readonly TableWorkload[]): Tables {
  return {
    ...EMPTY_TABLES,
    version: 1,
    workloads: PersistentMap.from(workloads.map((each) => [each.uid, each] as const)),
  }
}

/** `order` is what was done, in order; a namespace is opened for the pid of this very process. */
function bench(
  failing: { enrol?: boolean; identity?: boolean } = {},
  namespaceOf = () => 'net:[7]',
) {
  const order: string[] = []
  const clock = manualClock()
  const log = memoryLog()
  let populated: readonly PopulatedCgroup[] = []
  const containers = new Map<string, ContainerFacts>()
  const datapath = {
    enrol: async ({ uid }: { uid: string }) => {
      if (failing.enrol === true) throw new Error('no room')
      order.push(`enrol ${uid}`)
      return { uid, cookie: 1n, number: 1, listeners: [] }
    },
    withdraw: async (uid: string) => void order.push(`withdraw ${uid}`),
    endInherited: async (uid: string) => {
      order.push(`end-inherited ${uid}`)
      return 1
    },
  } as unknown as Datapath
  const kernel = {
    openNamespace: async () => ({ fd: 1, cookie: 1n, inode: 7, close: () => order.push('close') }),
  } as unknown as Kernel
  const enroller = new Enroller(
    {
      kernel,
      datapath,
      clock,
      log,
      watch: { populated: () => populated } as unknown as CgroupWatch,
      containers: { look: () => new Map(containers) } satisfies Pick<Containers, 'look'>,
      troubles: new Troubles(),
      wantIdentity: (id) => void order.push(`want ${id.split('/').at(-1)}`),
      hasIdentity: () => failing.identity !== true,
      afterEntering: async () => void order.push('after'),
      forgetIdentity: (id) => void order.push(`forget ${id.split('/').at(-1)}`),
      serve: async ({ pod: { uid } }) => void order.push(`serve ${uid}`),
      unserve: async (uid, reason) => void order.push(`unserve ${uid} ${reason}`),
      mark: ({ uid }, enrolled) => void order.push(`${enrolled ? 'mark' : 'unmark'} ${uid}`),
      wayTo: () => '',
      isNodes: () => true,
      hostWatch: { follow: () => {} },
      ownNamespace: () => 'net:[1]',
      namespaceOf,
    },
    { nodeName: 'one', cgroup2: '/cg', agentCgroup: '/cg/agent', workloadsCgroup: '/cg/pods' },
  )
  const see = (...paths: readonly string[]): void => {
    populated = paths.map((path) => ({ path, pids: [2] }))
  }
  return { order, clock, log, enroller, containers, see, take: () => order.splice(0) }
}

test('a workload is known to the kernel before it is served, and marked last', async (t) => {
  const { enroller, see, take } = bench()
  see('shop_a')
  await enroller.setTables(tables(workload('a')))
  t.deepEqual(take(), ['want a', 'enrol a', 'serve a', 'mark a', 'after'])
  await enroller.reconcile()
  t.deepEqual(take(), [])
})

test('its sockets older than enrolment end after the grace, under strict at once', async (t) => {
  const { enroller, see, take, clock } = bench()
  see('shop_a', 'shop_b')
  const strict = { mode: 'strict', ports: {}, by: 'p' } as const
  await enroller.setTables(tables(workload('a'), workload('b', { peer: strict })))
  take()
  clock.advance(0)
  t.deepEqual(take(), ['end-inherited b'])
  clock.advance(DEFAULT_MESH_SETTINGS.enrolGraceMs)
  t.deepEqual(take(), ['end-inherited a'])
})

test('a program that restarts keeps its enrolment; one that is gone for a second does not', async (t) => {
  const { enroller, see, take, clock } = bench()
  see('shop_a')
  await enroller.setTables(tables(workload('a')))
  take()
  see()
  await enroller.reconcile()
  see('shop_a')
  await enroller.reconcile()
  clock.advance(5_000)
  await enroller.reconcile()
  t.false(take().includes('withdraw a'))
  see()
  await enroller.reconcile()
  clock.advance(1_000)
  await enroller.reconcile()
  t.deepEqual(
    take().filter((step) => !step.startsWith('end-inherited')),
    ['unmark a', 'unserve a workload-removed', 'withdraw a', 'forget a', 'close'],
  )
})

test('a workload that is deleted or becomes another leaves at once', async (t) => {
  const { enroller, see, take } = bench()
  see('shop_a')
  await enroller.setTables(tables(workload('a')))
  take()
  await enroller.setTables(tables(workload('a', { serviceAccount: 'other' })))
  t.deepEqual(take(), [
    'unmark a',
    'unserve a workload-removed',
    'withdraw a',
    'forget a',
    'close',
    'want other',
    'enrol a',
    'serve a',
    'mark a',
    'after',
  ])
  await enroller.setTables(tables())
  t.true(take().includes('withdraw a'))
})

test('a failed enrolment leaves nothing and is tried again', async (t) => {
  const failing: { enrol?: boolean } = { enrol: true }
  const { enroller, see, take, clock, log } = bench(failing)
  see('shop_a')
  await enroller.setTables(tables(workload('a')))
  t.deepEqual(take(), ['want a', 'close'])
  t.true(log.entries.some((entry) => entry.event === 'enrolment.failed'))
  failing.enrol = false
  clock.advance(100)
  await enroller.reconcile()
  t.true(take().includes('mark a'))
})

test('cgroups of no workload, or of two, are refused and told once', async (t) => {
  const { enroller, see, take, log, clock } = bench()
  see('shop_x', 'shop_a')
  const twin = workload('b', { match: { kind: 'cgroup', pattern: 'shop_*' } })
  await enroller.setTables(tables(workload('a'), twin))
  t.is(log.entries.filter((entry) => entry.event === 'enrolment.ambiguous').length, 0)
  for (let n = 0; n < 3; n++) {
    clock.advance(1_000)
    await enroller.reconcile()
  }
  t.deepEqual(
    take().filter((step) => step.startsWith('enrol')),
    ['enrol b'],
  )
  t.is(log.entries.filter((entry) => entry.event === 'enrolment.ambiguous').length, 1)
})

test('a container is known by its name, and by nothing once a second one has it', async (t) => {
  const { enroller, containers, see, take, log, clock } = bench()
  const db = workload('a', { match: { kind: 'container', pattern: 'db' } })
  containers.set('first', { id: '1', names: ['db'], sandbox: '1' })
  see('first')
  await enroller.setTables(tables(db))
  t.deepEqual(take(), ['want a', 'enrol a', 'serve a', 'mark a', 'after'])
  containers.set('second', { id: '2', names: ['db'], sandbox: '2' })
  see('first', 'second')
  for (let n = 0; n < 3; n++) {
    await enroller.reconcile()
    clock.advance(1_000)
  }
  t.true(take().includes('withdraw a'))
  const told = log.entries.filter(({ event }) => event === 'enrolment.crowded')
  t.deepEqual(
    told.map(({ fields }) => [fields.cgroup, fields.container, fields.containers]),
    [
      ['first', '1', ['1', '2']],
      ['second', '2', ['1', '2']],
    ],
  )
  see('second')
  await enroller.reconcile()
  t.true(take().includes('mark a'))
})

test('a process that still is in the namespace of the node is waited for', async (t) => {
  let namespace = 'net:[1]'
  const { enroller, see, take, clock } = bench({}, () => namespace)
  see('shop_a')
  await enroller.setTables(tables(workload('a')))
  t.deepEqual(take(), ['want a'])
  namespace = 'net:[7]'
  clock.advance(100)
  await enroller.reconcile()
  t.true(take().includes('mark a'))
})

test('a new pod of the same name, in another namespace, is enrolled anew', async (t) => {
  let namespace = 'net:[7]'
  const { enroller, see, take } = bench({}, () => namespace)
  see('shop_a')
  await enroller.setTables(tables(workload('a')))
  take()
  namespace = 'net:[8]'
  await enroller.reconcile()
  t.deepEqual(
    take().filter((step) => /^(withdraw|enrol)/.test(step)),
    ['withdraw a', 'enrol a'],
  )
})

test('a workload without an identity holds up nobody, and enters when it has one', async (t) => {
  const failing: { identity?: boolean } = { identity: true }
  const { enroller, see, take } = bench(failing)
  see('shop_a')
  await enroller.setTables(tables(workload('a')))
  await enroller.reconcile()
  t.deepEqual(take(), ['want a'])
  failing.identity = false
  await enroller.reconcile()
  t.deepEqual(take(), ['enrol a', 'serve a', 'mark a', 'after'])
})

test('an identity that is waited for is given up with its workload, or with the agent', async (t) => {
  const { enroller, see, take } = bench({ identity: true })
  see('shop_a')
  await enroller.setTables(tables(workload('a')))
  await enroller.setTables(tables(workload('a', { serviceAccount: 'other' })))
  t.deepEqual(take(), ['want a', 'forget a', 'want other'])
  await enroller.stop('draining')
  t.deepEqual(take(), ['forget other'])
})
