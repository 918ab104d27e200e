import test from 'ava'
import { compile, istio, type Metadata, pod, resource, service } from './testing/written.ts'

test('named target ports are resolved for each pod by itself', (t) => {
  const web = (name: string, ip: string, port: number) =>
    pod(name, ip, {
      labels: { app: 'web' },
      spec: { containers: [{ ports: [{ name: 'web', containerPort: port }] }] },
    })
  const { registry, workload, issues } = compile([
    web('a', '10.0.0.1', 8080),
    web('b', '10.0.0.2', 9090),
    pod('c', '10.0.0.3', { labels: { app: 'web' } }),
    service('web', {
      clusterIP: '10.9.0.1',
      selector: { app: 'web' },
      ports: [
        { name: 'http', port: 80, targetPort: 'web' },
        { name: 'tcp-x', port: 81, targetPort: 'nowhere' },
      ],
    }),
  ])
  const key = 'shop/web.shop.svc.cluster.local'
  t.is(registry.services.get(key)?.ports[0]?.targetPort, 0)
  t.deepEqual(workload('a')?.services, { [key]: [{ servicePort: 80, targetPort: 8080 }] })
  t.deepEqual(workload('b')?.services, { [key]: [{ servicePort: 80, targetPort: 9090 }] })
  t.deepEqual(workload('c')?.services, {})
  t.deepEqual(issues, [
    '0.yaml:42:1: warning: Service shop/web: spec.ports: port tcp-x: no endpoint has a port named "nowhere"',
  ])
})

test('a selector sees its own namespace only, and every label must agree', (t) => {
  const labels = { app: 'web', tier: 'front' }
  const { workload } = compile([
    pod('a', '10.0.0.1', { labels }),
    pod('b', '10.0.0.2', { labels: { app: 'web' } }),
    pod('c', '10.0.0.3', { labels, namespace: 'other' }),
    service('web', { selector: labels, ports: [{ port: 80 }] }),
  ])
  t.is(Object.keys(workload('a')?.services ?? {}).length, 1)
  t.deepEqual([workload('b')?.services, workload('c')?.services], [{}, {}])
})

const healths: readonly (readonly [object, object, string | undefined])[] = [
  [{}, {}, 'healthy'],
  [{ phase: 'Running' }, {}, 'healthy'],
  [{ phase: 'Pending' }, {}, 'unhealthy'],
  [{ conditions: [{ type: 'Ready', status: 'False' }] }, {}, 'unhealthy'],
  [{ conditions: [{ type: 'Ready', status: 'True' }] }, {}, 'healthy'],
  [{}, { deletionTimestamp: '2026-01-01T00:00:00Z' }, 'unhealthy'],
  [{ phase: 'Succeeded' }, {}, undefined],
  [{ phase: 'Failed' }, {}, undefined],
]

for (const [status, metadata, expected] of healths) {
  test(`a pod with ${JSON.stringify({ ...status, ...metadata })} is ${expected}`, (t) => {
    const { workload } = compile([pod('a', '10.0.0.1', { status, ...metadata })])
    t.is(workload('a')?.status, expected as never)
  })
}

const meshed: readonly (readonly [string, Metadata, Metadata & { spec?: object }, string])[] = [
  ['by default', {}, {}, 'hbone'],
  ['with the label', {}, { labels: { 'istio.io/dataplane-mode': 'none' } }, 'none'],
  ['with the annotation', {}, { annotations: { 'weft.dev/mesh': 'none' } }, 'none'],
  ['on the host network', {}, { spec: { hostNetwork: true } }, 'none'],
  ['in a disabled namespace', { labels: { 'weft.dev/mesh': 'disabled' } }, {}, 'none'],
  ['in an excluded namespace', { labels: { 'istio.io/dataplane-mode': 'none' } }, {}, 'none'],
  [
    'that insists',
    { labels: { 'weft.dev/mesh': 'disabled' } },
    { labels: { 'istio.io/dataplane-mode': 'ambient' } },
    'hbone',
  ],
]

for (const [title, namespace, more, expected] of meshed) {
  test(`a pod ${title} has tunnel ${expected}`, (t) => {
    const around = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', ...namespace } }
    t.is(compile([around, pod('a', '10.0.0.1', more)]).workload('a')?.tunnel, expected as never)
  })
}

test('a WorkloadEntry takes from its group, and that from its own, what it does not say', (t) => {
  const group = (name: string, template: object, annotations: object = {}) =>
    istio(
      'WorkloadGroup',
      name,
      { template, metadata: { labels: { from: name } } },
      { annotations },
    )
  const { workload, issues } = compile([
    group('base', { serviceAccount: 'db', weight: 3, ports: { tcp: 1, admin: 9 } }),
    group(
      'db',
      { ports: { tcp: 5432 }, labels: { app: 'db' } },
      { 'weft.dev/workload-group': 'base' },
    ),
    istio(
      'WorkloadEntry',
      'db-1',
      { address: '10.0.0.9', weight: 1, locality: 'r/z/s' },
      {
        annotations: {
          'weft.dev/workload-group': 'db',
          'weft.dev/node': 'n1',
          'weft.dev/match': 'container=db',
        },
      },
    ),
    istio('WorkloadEntry', 'plain', { address: '10.0.0.10' }),
    service('db', { selector: { app: 'db' }, ports: [{ name: 'tcp', port: 5000 }] }),
  ])
  t.deepEqual(issues, [])
  t.like(workload('db-1'), {
    uid: 'Kubernetes/networking.istio.io/WorkloadEntry/shop/db-1',
    serviceAccount: 'db',
    capacity: 1,
    labels: { app: 'db', from: 'db' },
    locality: { region: 'r', zone: 'z', subzone: 's' },
    tunnel: 'hbone',
    node: 'n1',
    match: { kind: 'container', pattern: 'db' },
    services: { 'shop/db.shop.svc.cluster.local': [{ servicePort: 5000, targetPort: 5432 }] },
    directPorts: [5432],
  })
  t.like(workload('plain'), { tunnel: 'none', node: '', serviceAccount: 'default' })
})

test('EndpointSlices name the endpoints of a service without selector', (t) => {
  const { registry, workload, issues } = compile([
    pod('a', '10.0.0.1'),
    service('s', {
      clusterIP: '10.9.0.1',
      ports: [
        { name: 'tcp', port: 80 },
        { name: 'x', port: 81 },
      ],
    }),
    resource(
      'discovery.k8s.io/v1',
      'EndpointSlice',
      { name: 's-1', labels: { 'kubernetes.io/service-name': 's' } },
      {
        addressType: 'IPv4',
        endpoints: [
          { addresses: ['10.0.0.1'] },
          { addresses: ['192.0.2.1'], conditions: { ready: false } },
        ],
        ports: [{ name: 'tcp', port: 8080 }],
      },
    ),
  ])
  t.deepEqual(issues, [])
  const services = { 'shop/s.shop.svc.cluster.local': [{ servicePort: 80, targetPort: 8080 }] }
  t.deepEqual(workload('a')?.services, services)
  t.like(workload('s-1'), {
    addresses: ['192.0.2.1'],
    tunnel: 'none',
    status: 'unhealthy',
    services,
  })
  t.is(registry.workloads.size, 2)
})

test('a ServiceEntry has a service for each host, and its own endpoints', (t) => {
  const { registry, workload, issues } = compile([
    pod('a', '10.0.0.1', { spec: { serviceAccountName: 'a' } }),
    istio('ServiceEntry', 'ext', {
      hosts: ['a.example', 'b.example'],
      addresses: ['240.0.0.1', '240.1.2.3/16'],
      location: 'MESH_INTERNAL',
      resolution: 'STATIC',
      ports: [{ number: 80, name: 'tcp', protocol: 'TCP', targetPort: 8080 }],
      endpoints: [{ address: '10.0.0.1' }, { address: '192.0.2.1', ports: { tcp: 9090 } }],
      subjectAltNames: ['spiffe://x/ns/y/sa/z'],
    }),
  ])
  t.deepEqual(issues, [])
  t.like(registry.services.get('shop/b.example'), {
    vips: ['240.0.0.1', '240.1.0.0/16'],
    external: false,
    resolution: 'static',
    subjectAltNames: ['spiffe://x/ns/y/sa/z'],
  })
  t.deepEqual(workload('a')?.services['shop/a.example'], [{ servicePort: 80, targetPort: 8080 }])
  t.like(workload('ext'), {
    uid: 'Kubernetes/networking.istio.io/ServiceEntry/shop/ext/192.0.2.1',
    tunnel: 'none',
    services: { 'shop/b.example': [{ servicePort: 80, targetPort: 9090 }] },
  })
})

const direct: readonly (readonly [string, object[], Metadata, Metadata, readonly number[]])[] = [
  ['declared TCP by its one service', [{ name: 'tcp', port: 1 }], {}, {}, [1]],
  ['undeclared', [{ name: 'x', port: 1 }], {}, {}, []],
  [
    'undeclared in an annotated service',
    [{ name: 'x', port: 1 }],
    {},
    { annotations: { 'weft.dev/path': 'direct' } },
    [1],
  ],
  [
    'undeclared on an annotated pod',
    [{ name: 'x', port: 1 }],
    { annotations: { 'weft.dev/path': 'direct' } },
    {},
    [1],
  ],
  [
    'TCP by one service port and HTTP by another',
    [
      { name: 'tcp', port: 1 },
      { name: 'http', port: 2, targetPort: 1 },
    ],
    {},
    {},
    [],
  ],
  ['UDP', [{ name: 'dns', port: 53, protocol: 'UDP' }], {}, {}, [53]],
]

for (const [title, ports, podMeta, serviceMeta, expected] of direct) {
  test(`a port ${title} ${expected.length > 0 ? 'may' : 'may not'} be direct`, (t) => {
    const { workload } = compile([
      pod('a', '10.0.0.1', { labels: { app: 'a' }, ...podMeta }),
      service('s', { selector: { app: 'a' }, ports }, serviceMeta),
    ])
    t.deepEqual(workload('a')?.directPorts, expected)
  })
}

test('the registry is frozen to the leaves and the order of files does not matter', (t) => {
  const a = [pod('a', '10.0.0.1', { labels: { app: 'a' } })]
  const b = [service('s', { clusterIP: '10.9.0.1', selector: { app: 'a' }, ports: [{ port: 1 }] })]
  const one = compile(a, b)
  const other = compile(b, a)
  t.deepEqual(one.registry, other.registry)
  const workload = one.workload('a')
  t.true(Object.isFrozen(workload?.labels) && Object.isFrozen(workload?.addresses))
  t.true(Object.isFrozen([...one.registry.services.values()][0]?.ports[0]))
})
