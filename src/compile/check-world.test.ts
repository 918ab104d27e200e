import test from 'ava'
import { compile, istio, pod, resource, service } from './testing/written.ts'

const account = resource('v1', 'ServiceAccount', { name: 'a' }, {})
const host = { spec: { hostNetwork: true } }
const refused: readonly (readonly [string, object[][], readonly string[]])[] = [
  [
    'the same resource in two files',
    [[account], [account]],
    [
      '1.yaml:1:1: error: ServiceAccount shop/a: is also written at 0.yaml:1; remove one of the two',
    ],
  ],
  [
    'two MeshConfigs',
    [
      [resource('weft.dev/v1', 'MeshConfig', { name: 'a' }, { spec: {} })],
      [resource('weft.dev/v1', 'MeshConfig', { name: 'b' }, { spec: {} })],
    ],
    [
      '1.yaml:1:1: error: MeshConfig b: a mesh has one MeshConfig, and another is at 0.yaml:1; remove one',
    ],
  ],
  [
    'two workloads with one address',
    [[pod('a', '10.0.0.1')], [istio('WorkloadEntry', 'b', { address: '::ffff:10.0.0.1' })]],
    [
      '1.yaml:1:1: error: WorkloadEntry shop/b: address 10.0.0.1 belongs to Pod shop/a at 0.yaml:1 already; give each its own',
    ],
  ],
  [
    'two services with one virtual address',
    [[service('a', { clusterIP: '10.9.0.1' })], [service('b', { clusterIP: '10.9.0.1' })]],
    [
      '1.yaml:1:1: error: Service shop/b: virtual address 10.9.0.1 belongs to Service shop/a at 0.yaml:1 already; give each its own',
    ],
  ],
  [
    'two services with one name',
    [
      [service('a', {})],
      [
        istio('ServiceEntry', 'b', {
          hosts: ['a.shop.svc.cluster.local'],
          addresses: ['10.9.0.1'],
        }),
      ],
    ],
    [
      '1.yaml:1:1: error: ServiceEntry shop/b: host a.shop.svc.cluster.local belongs to Service shop/a at 0.yaml:1 already; give each its own',
    ],
  ],
  [
    'an EndpointSlice of no service',
    [
      [
        resource(
          'discovery.k8s.io/v1',
          'EndpointSlice',
          { name: 's', labels: { 'kubernetes.io/service-name': 'gone' } },
          { addressType: 'IPv4', endpoints: [] },
        ),
      ],
    ],
    [
      '0.yaml:1:1: error: EndpointSlice shop/s: metadata.labels["kubernetes.io/service-name"]: Service shop/gone does not exist; add it, or remove the slice',
    ],
  ],
  [
    'an entry of no group',
    [
      [
        istio(
          'WorkloadEntry',
          'a',
          { address: '10.0.0.1' },
          { annotations: { 'weft.dev/workload-group': 'g' } },
        ),
      ],
    ],
    [
      '0.yaml:1:1: error: WorkloadEntry shop/a: metadata.annotations["weft.dev/workload-group"]: WorkloadGroup shop/g does not exist; add it',
    ],
  ],
  [
    'groups in a circle',
    [
      [
        istio(
          'WorkloadGroup',
          'a',
          { template: {} },
          { annotations: { 'weft.dev/workload-group': 'b' } },
        ),
      ],
      [
        istio(
          'WorkloadGroup',
          'b',
          { template: {} },
          { annotations: { 'weft.dev/workload-group': 'a' } },
        ),
        istio(
          'WorkloadEntry',
          'e',
          { address: '10.0.0.1' },
          { annotations: { 'weft.dev/workload-group': 'a' } },
        ),
      ],
    ],
    [
      '0.yaml:1:1: error: WorkloadGroup shop/a: metadata.annotations["weft.dev/workload-group"]: takes its template from itself: a -> b -> a; break the cycle',
      '1.yaml:1:1: error: WorkloadGroup shop/b: metadata.annotations["weft.dev/workload-group"]: takes its template from itself: b -> a -> b; break the cycle',
    ],
  ],
  [
    'a ServiceEntry that selects nothing',
    [
      [
        istio('ServiceEntry', 'a', {
          hosts: ['a.b'],
          addresses: ['10.9.0.1'],
          resolution: 'STATIC',
          workloadSelector: { labels: { a: 'b' } },
        }),
      ],
    ],
    [
      '0.yaml:1:1: warning: ServiceEntry shop/a: spec.workloadSelector: selects no workload; it has no endpoints',
    ],
  ],
  [
    'an endpoint that claims another identity for a pod',
    [
      [pod('a', '10.0.0.1')],
      [
        istio('ServiceEntry', 's', {
          hosts: ['a.b'],
          addresses: ['10.9.0.1'],
          resolution: 'STATIC',
          endpoints: [{ address: '10.0.0.1', serviceAccount: 'root' }],
        }),
      ],
    ],
    [
      '1.yaml:1:1: error: ServiceEntry shop/s: spec.endpoints[0].serviceAccount: this address is Pod shop/a with service account default; leave the field out or make them equal',
    ],
  ],
]

for (const [title, files, expected] of refused) {
  test(`reports ${title}`, (t) => t.deepEqual(compile(...files).issues, expected))
}

const accepted: readonly (readonly [string, object[]])[] = [
  [
    'pods on the host network that share their address',
    [pod('a', '10.0.0.1', host), pod('b', '10.0.0.1', host)],
  ],
  [
    'a pod with the address of a finished one',
    [pod('a', '10.0.0.1', { status: { phase: 'Failed' } }), pod('b', '10.0.0.1')],
  ],
  [
    'one address in two networks',
    [pod('a', '10.0.0.1'), istio('WorkloadEntry', 'b', { address: '10.0.0.1', network: 'n2' })],
  ],
]

for (const [title, objects] of accepted) {
  test(`accepts ${title}`, (t) => t.deepEqual(compile(objects).issues, []))
}
