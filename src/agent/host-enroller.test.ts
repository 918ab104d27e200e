import test from 'ava'
import { manualClock } from '../base/clock.ts'
import { memoryLog } from '../base/log.ts'
import { PersistentMap } from '../base/persistent-map.ts'
import { EMPTY_TABLES } from '../compile/apply-patch.ts'
import type { Datapath, EnrolledPod, HostEnrolment, PodListener } from '../kernel/datapath.ts'
import { DEFAULT_MESH_SETTINGS } from '../model/mesh-settings.ts'
import { NODE_UID } from '../model/messages.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'
import { plainWorkload } from '../model/testing/workload.ts'
import { HostEnroller } from './host-enroller.ts'
import { Troubles } from './troubles.ts'

function host(name: string, more: Partial<TableWorkload> = {}): TableWorkload {
  return {
    ...plainWorkload(name),
    hostNetwork: true,
    match: { kind: 'host', pattern: `system.slice/${name}.service`, ports: [80] },
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

const listener = (worker: number, fd: number): PodListener => ({ worker, class: 'hbone', fd })

/** The kernel's side as the enroller knows it: the node is there while a workload is. */
function bench(
  failing: { enrol?: boolean; identity?: boolean } = {},
  wayTo: () => string = () => '1',
) {
  const order: string[] = []
  const clock = manualClock()
  const log = memoryLog()
  const hosts = new Map<string, HostEnrolment>()
  const datapath = {
    get node(): EnrolledPod | undefined {
      if (hosts.size === 0) return undefined
      return { uid: NODE_UID, cookie: 5n, number: 0, listeners: [listener(0, 10), listener(1, 11)] }
    },
    enrolHost: async (enrolment: HostEnrolment): Promise<EnrolledPod> => {
      const { uid, cgroup, ports } = enrolment
      if (failing.enrol === true) throw new Error('no room')
      hosts.set(uid, enrolment)
      order.push(`enrol ${uid} ${cgroup} ${ports}`)
      return { uid, cookie: 5n, number: hosts.size, listeners: [] }
    },
    withdraw: async (uid: string) => {
      hosts.delete(uid)
      order.push(`withdraw ${uid}`)
    },
    endInherited: async (uid: string) => {
      order.push(`end-inherited ${uid}`)
      return 1
    },
  } as unknown as Datapath
  const enroller = new HostEnroller(
    {
      kernel: {
        openNamespace: async (path) => {
          order.push(`open ${path}`)
          return { fd: 3, cookie: 5n, inode: 7, close: () => void order.push('close') }
        },
      },
      datapath,
      clock,
      log,
      troubles: new Troubles(),
      wantIdentity: (id) => void order.push(`want ${id.split('/').at(-1)}`),
      hasIdentity: () => failing.identity !== true,
      forgetIdentity: (id) => void order.push(`forget ${id.split('/').at(-1)}`),
      serve: async ({ pod: { uid } }) => void order.push(`serve ${uid}`),
      unserve: async (uid, reason) => void order.push(`unserve ${uid} ${reason}`),
      mark: ({ uid }, enrolled) => void order.push(`${enrolled ? 'mark' : 'unmark'} ${uid}`),
      wayTo,
      isNodes: (ip) => ip !== '10.9.9.9',
    },
    {
      nodeName: 'one',
      cgroup2: '/cg',
      agentCgroup: '/cg/weft.slice',
      workloadsCgroup: '/cg/pods/weft',
    },
  )
  return { order, clock, log, enroller, take: () => order.splice(0) }
}

const ENTERS = (name: string): string[] => [
  `enrol ${name} /cg/system.slice/${name}.service 80`,
  `want ${name}`,
  `serve ${name}`,
  `mark ${name}`,
]

test('the first workload is served by the listeners of the node, which go with the last', async (t) => {
  const { enroller, take } = bench()
  t.deepEqual(await enroller.reconcile(tables(host('a'))), { entered: true, unfinished: false })
  const [enrolled = '', ...rest] = ENTERS('a')
  t.deepEqual(take(), ['open /proc/self/ns/net', enrolled, `serve ${NODE_UID}`, ...rest])
  t.deepEqual(await enroller.reconcile(tables(host('a'))), { entered: false, unfinished: false })
  t.deepEqual(take(), [])
  await enroller.reconcile(tables(host('a'), host('b')))
  t.deepEqual(take(), ENTERS('b'))
  await enroller.reconcile(tables(host('b')))
  t.deepEqual(take(), ['unmark a', 'unserve a workload-removed', 'withdraw a', 'forget a'])
  await enroller.reconcile(tables())
  t.deepEqual(take(), [
    'unmark b',
    'unserve b workload-removed',
    `unserve ${NODE_UID} workload-removed`,
    'withdraw b',
    'forget b',
    'close',
  ])
  t.deepEqual(enroller.servings(), [])
})

test('only workloads of this node, by cgroup and in the mesh, are its affair', async (t) => {
  const { enroller, take } = bench()
  const match = { kind: 'cgroup', pattern: 'x' } as const
  await enroller.reconcile(
    tables(host('a', { node: 'two' }), host('b', { tunnel: 'none' }), host('c', { match })),
  )
  t.deepEqual(take(), [])
})

test('another address is another way to it, and it stays captured meanwhile', async (t) => {
  const { enroller, take, log } = bench()
  await enroller.reconcile(tables(host('a', { addresses: ['10.0.0.1'] })))
  take()
  await enroller.reconcile(tables(host('a', { addresses: ['10.9.9.9'] })))
  const [enrolled = '', ...rest] = ENTERS('a')
  t.deepEqual(take(), [enrolled, 'unmark a', 'unserve a workload-removed', 'forget a', ...rest])
  t.deepEqual([...enroller.enrolled.values()][0]?.workload.addresses, ['10.9.9.9'])
  const told = log.entries.filter(({ event }) => event === 'enrolment.address-elsewhere')
  t.deepEqual(
    told.map(({ fields }) => fields?.addresses),
    [['10.9.9.9']],
    'who has an address of another machine is told so',
  )
})

test('without its certificate a workload is captured, and refused', async (t) => {
  const failing: { identity?: boolean } = { identity: true }
  const { enroller, take } = bench(failing)
  t.deepEqual(await enroller.reconcile(tables(host('a'))), { entered: false, unfinished: true })
  t.deepEqual(take(), [
    'open /proc/self/ns/net',
    'enrol a /cg/system.slice/a.service 80',
    `serve ${NODE_UID}`,
    'want a',
  ])
  t.is(enroller.enrolled.size, 0)
  failing.identity = false
  await enroller.reconcile(tables(host('a')))
  t.deepEqual(take(), ['serve a', 'mark a'])
  t.is(enroller.enrolled.size, 1)
})

test('another identity, or other ports, leave no moment in which nothing is captured', async (t) => {
  const failing: { identity?: boolean } = {}
  const { enroller, take } = bench(failing)
  await enroller.reconcile(tables(host('a')))
  take()
  const match = { kind: 'host', pattern: 'system.slice/a.service', ports: [80, 81] } as const
  await enroller.reconcile(tables(host('a', { match })))
  t.deepEqual(take(), ['enrol a /cg/system.slice/a.service 80,81'])
  failing.identity = true
  await enroller.reconcile(tables(host('a', { match, serviceAccount: 'other' })))
  t.deepEqual(take(), ['unmark a', 'unserve a workload-removed', 'forget a', 'want other'])
  failing.identity = false
  await enroller.reconcile(tables(host('a', { match, serviceAccount: 'other' })))
  t.deepEqual(take(), ['serve a', 'mark a'])
  await enroller.stop('draining')
  t.true(take().includes('forget other'))
})

test('another cgroup is another place: it leaves, and enters there', async (t) => {
  const { enroller, take } = bench()
  await enroller.reconcile(tables(host('a'), host('b')))
  take()
  const match = { kind: 'host', pattern: 'system.slice/c.service', ports: [] } as const
  await enroller.reconcile(tables(host('a', { match }), host('b')))
  t.deepEqual(take(), [
    'unmark a',
    'unserve a workload-removed',
    'withdraw a',
    'forget a',
    'enrol a /cg/system.slice/c.service ',
    'want a',
    'serve a',
    'mark a',
  ])
})

test('the kernel is told again of a cgroup whose slice was made anew', async (t) => {
  let way = '1/2'
  const { enroller, take } = bench({}, () => way)
  await enroller.reconcile(tables(host('a')))
  take()
  way = '1/3'
  await enroller.reconcile(tables(host('a')))
  await enroller.reconcile(tables(host('a')))
  t.deepEqual(take(), ['enrol a /cg/system.slice/a.service 80'])
})

test('rules that change alone change nothing here, and are those of the next question', async (t) => {
  const { enroller, take } = bench()
  await enroller.reconcile(tables(host('a')))
  take()
  await enroller.reconcile(tables(host('a', { policies: ['shop/p'] })))
  t.deepEqual(take(), [])
  t.deepEqual(enroller.enrolled.get('a')?.workload.policies, ['shop/p'])
})

test('a failed enrolment is told and tried again, and holds up nobody', async (t) => {
  const failing: { enrol?: boolean } = { enrol: true }
  const { enroller, take, log } = bench(failing)
  t.deepEqual(await enroller.reconcile(tables(host('a'))), { entered: false, unfinished: true })
  t.true(log.entries.some((entry) => entry.event === 'enrolment.failed'))
  failing.enrol = false
  take()
  await enroller.reconcile(tables(host('a')))
  t.true(take().includes('mark a'))
})

const MISPLACED = {
  'weft.slice': "/cg/weft.slice is in the agents' own cgroup, which the mesh leaves alone",
  'weft.slice/agent-1': "/cg/weft.slice/agent-1 is in the agents' own cgroup",
  pods: '/cg/pods holds /cg/pods/weft as well',
  'pods/weft': '/cg/pods/weft holds /cg/pods/weft as well',
}

for (const [pattern, why] of Object.entries(MISPLACED)) {
  test(`${pattern} is no cgroup of a workload, and that is told once`, async (t) => {
    const { enroller, take, log } = bench()
    const wrong = host('a', { match: { kind: 'host', pattern } })
    for (let n = 0; n < 2; n++) await enroller.reconcile(tables(wrong, host('b')))
    t.false(take().some((step) => step.startsWith('enrol a')))
    const told = log.entries.filter(({ event }) => event === 'enrolment.refused')
    t.is(told.length, 1)
    t.true(String(told[0]?.fields.why).startsWith(why), String(told[0]?.fields.why))
    t.is(enroller.enrolled.size, 1)
  })
}

test('what is older than its enrolment ends after the grace, under strict at once', async (t) => {
  const { enroller, take, clock } = bench()
  const strict = { mode: 'strict', ports: {}, by: 'p' } as const
  await enroller.reconcile(tables(host('a'), host('b', { peer: strict })))
  take()
  clock.advance(0)
  t.deepEqual(take(), ['end-inherited b'])
  clock.advance(DEFAULT_MESH_SETTINGS.enrolGraceMs)
  t.deepEqual(take(), ['end-inherited a'])
})

test("a replacement worker's listeners of the node are known from then on", async (t) => {
  const { enroller } = bench()
  await enroller.reconcile(tables(host('a')))
  enroller.replaceListeners(NODE_UID, 0, [listener(0, 20)])
  const [node, workload] = enroller.servings()
  t.deepEqual(node?.listeners, [listener(1, 11), listener(0, 20)])
  t.like(node?.pod, { uid: NODE_UID, number: 0, namespaceFd: 3, netnsCookie: 5n, addresses: [] })
  t.like(workload?.pod, { uid: 'a', number: 1, hostNetwork: true, namespaceFd: 3 })
})
