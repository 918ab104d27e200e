import test from 'ava'
import { compile, istio, pod, resource, service } from './testing/written.ts'

const host = (
  name: string,
  annotations: Readonly<Record<string, string>> = {},
  spec: object = {},
  labels: object = {},
) =>
  istio(
    'WorkloadEntry',
    name,
    { address: '10.0.0.1', serviceAccount: name, ...spec },
    {
      labels,
      annotations: {
        'weft.dev/node': 'n1',
        'weft.dev/cgroup': `system.slice/${name}.service`,
        ...annotations,
      },
    },
  )

test('a cgroup of its node makes a WorkloadEntry a host-network workload', (t) => {
  const { workload, issues } = compile([
    host('web', {}, { ports: { http: 8080, admin: 9 } }, { app: 'web' }),
    host('db'),
    service('web', {
      selector: { app: 'web' },
      ports: [
        { name: 'http', port: 80 },
        { name: 'x', port: 81, targetPort: 8081 },
        { name: 'dns', port: 53, protocol: 'UDP' },
      ],
    }),
  ])
  t.deepEqual(issues, [])
  t.like(workload('web'), {
    hostNetwork: true,
    tunnel: 'hbone',
    node: 'n1',
    addresses: ['10.0.0.1'],
    match: { kind: 'host', pattern: 'system.slice/web.service', ports: [9, 8080, 8081] },
  })
  t.like(workload('db'), {
    match: { kind: 'host', pattern: 'system.slice/db.service', ports: [] },
  })
})

test('a group gives its entries the cgroup, and each its node', (t) => {
  const group = istio('WorkloadGroup', 'web', {
    metadata: { annotations: { 'weft.dev/cgroup': 'system.slice/web.service' } },
    template: { serviceAccount: 'web', ports: { http: 80 } },
  })
  const entry = (name: string, node: object) =>
    istio(
      'WorkloadEntry',
      name,
      { address: '10.0.0.1' },
      { annotations: { 'weft.dev/workload-group': 'web', ...node } },
    )
  const good = compile([group, entry('a', { 'weft.dev/node': 'n1' })])
  t.deepEqual(good.issues, [])
  t.like(good.workload('a'), {
    hostNetwork: true,
    match: { kind: 'host', pattern: 'system.slice/web.service', ports: [80] },
  })
  t.deepEqual(compile([group, entry('a', {})]).issues, [
    '0.yaml:15:1: error: WorkloadEntry shop/a: metadata.annotations["weft.dev/cgroup"]: needs to know its node; add the annotation weft.dev/node: NODE beside it',
  ])
})

test('loopback is the address of no node', (t) => {
  for (const address of ['127.0.0.1', '::1']) {
    const { issues } = compile([host('web', {}, { address })])
    t.is(issues.length, 1)
    t.true(issues[0]?.includes(`spec.address: ${address} is every machine's own`), issues[0])
  }
})

test('a host-network workload out of the mesh is reached in plain TCP', (t) => {
  t.is(compile([host('web', { 'weft.dev/mesh': 'none' })]).workload('web')?.tunnel, 'none')
})

test('a listed address and port of the node is the workload that says it serves it', (t) => {
  const { workload, issues } = compile([
    host('web', {}, { ports: { http: 8080 } }),
    service('s', {
      ports: [
        { name: 'http', port: 80 },
        { name: 'ssh', port: 22 },
      ],
    }),
    resource(
      'discovery.k8s.io/v1',
      'EndpointSlice',
      { name: 's-1', labels: { 'kubernetes.io/service-name': 's' } },
      {
        addressType: 'IPv4',
        endpoints: [{ addresses: ['10.0.0.1'] }],
        ports: [
          { name: 'http', port: 8080 },
          { name: 'ssh', port: 22 },
        ],
      },
    ),
    istio('ServiceEntry', 'e', {
      hosts: ['e.example'],
      addresses: ['240.0.0.1'],
      resolution: 'STATIC',
      location: 'MESH_INTERNAL',
      ports: [{ number: 81, name: 'http', protocol: 'HTTP', targetPort: 8080 }],
      endpoints: [{ address: '10.0.0.1' }],
    }),
  ])
  t.deepEqual(issues, [])
  t.deepEqual(workload('web')?.services, {
    'shop/e.example': [{ servicePort: 81, targetPort: 8080 }],
    'shop/s.shop.svc.cluster.local': [{ servicePort: 80, targetPort: 8080 }],
  })
  t.like(workload('s-1'), {
    tunnel: 'none',
    services: { 'shop/s.shop.svc.cluster.local': [{ servicePort: 22, targetPort: 22 }] },
  })
  t.is(workload('e'), undefined)
})

const BESIDE = '; annotate this one with weft.dev/cgroup as well, or give it an address of its own'

const wrong: readonly (readonly [string, object[], readonly string[]])[] = [
  [
    'a match beside the cgroup',
    [host('a', { 'weft.dev/match': 'container=a' })],
    [
      '0.yaml:1:1: error: WorkloadEntry shop/a: metadata.annotations["weft.dev/cgroup"]: excludes weft.dev/match, which is for workloads with a network of their own; remove one of the two',
    ],
  ],
  [
    'one cgroup for two',
    [host('a'), host('b', { 'weft.dev/cgroup': 'system.slice/a.service' })],
    [
      '0.yaml:14:1: error: WorkloadEntry shop/b: metadata.annotations["weft.dev/cgroup"]: system.slice/a.service is the cgroup of WorkloadEntry shop/a at 0.yaml:1 already; give each its own',
    ],
  ],
  [
    'one cgroup name on two nodes',
    [
      host('a'),
      host(
        'b',
        { 'weft.dev/cgroup': 'system.slice/a.service', 'weft.dev/node': 'n2' },
        { address: '10.0.0.2' },
      ),
    ],
    [],
  ],
  [
    'one port for two',
    [host('a', {}, { ports: { x: 80 } }), host('b', {}, { ports: { y: 80 } })],
    [
      '0.yaml:16:1: error: WorkloadEntry shop/b: serves port 80 of 10.0.0.1, and so does WorkloadEntry shop/a at 0.yaml:1; give each its own ports, and labels by which a service selects one of them only',
    ],
  ],
  [
    'one port at two addresses of the node',
    [host('a', {}, { ports: { x: 80 } }), host('b', {}, { address: '10.0.0.2', ports: { y: 80 } })],
    [],
  ],
  [
    'a service that leads to one port of two',
    [
      host('a', {}, {}, { app: 'x' }),
      host('b', {}, {}, { app: 'x' }),
      service('x', { selector: { app: 'x' }, ports: [{ port: 80 }] }),
    ],
    [
      '0.yaml:15:1: error: WorkloadEntry shop/b: serves port 80 of 10.0.0.1, and so does WorkloadEntry shop/a at 0.yaml:1; give each its own ports, and labels by which a service selects one of them only',
    ],
  ],
  [
    'a pod with the address of the node',
    [host('a'), pod('p', '10.0.0.1')],
    [
      `0.yaml:14:1: error: Pod shop/p: address 10.0.0.1 is the node's, where WorkloadEntry shop/a at 0.yaml:1 lives${BESIDE}`,
    ],
  ],
  [
    'a pod on the host network beside',
    [host('a'), pod('p', '10.0.0.1', { spec: { hostNetwork: true } })],
    [],
  ],
]

for (const [title, objects, expected] of wrong) {
  test(`${title}: ${expected.length > 0 ? 'an issue' : 'no issue'}`, (t) => {
    t.deepEqual(compile(objects).issues, expected)
  })
}
