import test from 'ava'
import { service, tablesOf, workload } from '../testing/world.ts'
import { meaningOf } from './names.ts'

const kube = (name: string, namespace: string, more = {}) =>
  service(name, '10.96.0.1', [[80, 80]], [], {
    key: `${namespace}/${name}.${namespace}.svc.cluster.local`,
    namespace,
    hostname: `${name}.${namespace}.svc.cluster.local`,
    ...more,
  })
const entry = (name: string, namespace: string, hostname: string, more = {}) =>
  service(name, '240.240.0.1', [[80, 80]], [], {
    key: `${namespace}/${hostname}`,
    namespace,
    hostname,
    ...more,
  })

const db0 = workload('db-0', '10.0.0.1', { namespace: 'shop' })
const db1 = workload('db-1', '10.0.0.2', { namespace: 'shop' })
const tables = tablesOf(1, {
  workloads: [db0, db1],
  services: [
    kube('web', 'shop'),
    kube('web', 'other'),
    kube('shop', 'shop'),
    kube('example', 'com'),
    kube('db', 'shop', { vips: [], endpoints: [db0.uid, db1.uid] }),
    entry('mail', 'shop', 'mail.example.com'),
    entry('theirs', 'other', 'mail.example.com'),
    entry('only', 'other', 'only.example.org'),
    entry('bare', 'other', 'legacy'),
    entry('deep', 'shop', '*.deep.example.com'),
    entry('wide', 'shop', '*.example.com'),
    entry('claim', 'aaa', 'web.shop.svc.cluster.local'),
  ],
})

const WEB = 'shop/web.shop.svc.cluster.local'
const OTHER = 'other/web.other.svc.cluster.local'
const DB = 'shop/db.shop.svc.cluster.local'
const MAIL = 'shop/mail.example.com'

type Row = readonly [name: string, key?: string, alias?: string | undefined, endpoint?: string]

const rows: readonly Row[] = [
  ['web', WEB],
  ['web.shop', WEB],
  ['web.shop.svc', WEB],
  ['web.shop.svc.cluster.local', WEB],
  ['web.other', OTHER],
  ['web.other.svc', OTHER],
  ['web.other.svc.cluster.local', OTHER],
  // One that claims another's name gets it in its own namespace at most.
  ['web.nowhere'],
  ['nobody'],
  ['nobody.shop.svc.cluster.local'],
  ['shop.svc.cluster.local'],
  ['svc.cluster.local'],
  ['cluster.local'],
  ['.'],
  // With search domains behind them.
  ['web.other.shop.svc.cluster.local', OTHER, 'web.other.svc.cluster.local'],
  ['web.shop.shop.svc.cluster.local', WEB, 'web.shop.svc.cluster.local'],
  ['web.other.svc.shop.svc.cluster.local', OTHER, 'web.other.svc.cluster.local'],
  ['web.other.svc.cluster.local.cluster.local', OTHER, 'web.other.svc.cluster.local'],
  ['mail.example.com.shop.svc.cluster.local', MAIL, 'mail.example.com'],
  ['mail.example.com.svc.cluster.local', MAIL, 'mail.example.com'],
  ['mail.example.com.cluster.local', MAIL, 'mail.example.com'],
  // Not the asker's search domain.
  ['mail.example.com.other.svc.cluster.local'],
  ['web.svc.cluster.local'],
  ['web.cluster.local'],
  // Hosts of ServiceEntries.
  ['mail.example.com', MAIL],
  ['only.example.org', 'other/only.example.org'],
  ['legacy', 'other/legacy'],
  // Spelled like a host: `example` in the namespace `com`, unless an entry has the host.
  ['example.com.svc', 'com/example.com.svc.cluster.local'],
  ['example.com', 'com/example.com.svc.cluster.local'],
  ['x.example.com', 'shop/*.example.com'],
  ['x.y.example.com', 'shop/*.example.com'],
  ['x.deep.example.com', 'shop/*.deep.example.com'],
  ['x.example.com.shop.svc.cluster.local', 'shop/*.example.com', 'x.example.com'],
  ['xexample.com'],
  // Endpoints of headless services.
  ['db', DB],
  ['db-0.db.shop.svc.cluster.local', DB, undefined, db0.uid],
  ['db-1.db.shop.svc.cluster.local', DB, undefined, db1.uid],
  ['db-2.db.shop.svc.cluster.local'],
  ['x.web.shop.svc.cluster.local'],
]

for (const [name, key, alias, endpoint] of rows) {
  test(`${name} is ${endpoint ?? key ?? 'not ours'}`, (t) => {
    const found = meaningOf(tables, 'shop', name)
    t.is(found?.service.key, key)
    t.is(found?.alias, alias)
    t.is(found?.endpoint?.uid, endpoint)
  })
}

test('a short name is of the asker’s namespace', (t) => {
  t.is(meaningOf(tables, 'other', 'web')?.service.key, OTHER)
  t.is(meaningOf(tables, 'aaa', 'web'), undefined)
})

test('of several with one host, that of the asker’s namespace, then the Service, then the first', (t) => {
  const of = (namespace: string, name: string) =>
    meaningOf(tables, namespace, name)?.service.key ?? ''
  t.is(of('other', 'mail.example.com'), 'other/mail.example.com')
  t.is(of('aaa', 'mail.example.com'), 'other/mail.example.com')
  t.is(of('aaa', 'web.shop.svc.cluster.local'), 'aaa/web.shop.svc.cluster.local')
  t.is(of('third', 'web.shop.svc.cluster.local'), WEB)
})

test('a host wins over a short name that is spelled like it', (t) => {
  const own = tablesOf(1, {
    workloads: [],
    services: [kube('example', 'com'), entry('x', 'shop', 'example.com')],
  })
  t.is(meaningOf(own, 'shop', 'example.com')?.service.key, 'shop/example.com')
})

test('the cluster domain is the mesh’s', (t) => {
  const own = tablesOf(1, {
    workloads: [],
    settings: { clusterDomain: 'my.mesh' },
    services: [kube('web', 'shop', { hostname: 'web.shop.svc.my.mesh' })],
  })
  for (const name of ['web', 'web.shop', 'web.shop.svc', 'web.shop.svc.my.mesh']) {
    t.truthy(meaningOf(own, 'shop', name), name)
  }
  t.falsy(meaningOf(own, 'shop', 'web.shop.svc.cluster.local'))
})

test('without services nothing is ours', (t) => {
  t.is(meaningOf(tablesOf(1, { workloads: [] }), 'shop', 'web'), undefined)
})
