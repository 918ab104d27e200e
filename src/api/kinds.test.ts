import test from 'ava'
import { stringify } from 'yaml'
import { DEFAULT_MESH_SETTINGS } from '../model/mesh-settings.ts'
import type { PortProtocol } from '../model/service.ts'
import { parseDuration } from './checks.ts'
import { parseFile } from './parse-file.ts'
import { declaredProtocol, serviceEntryProtocol } from './port-protocol.ts'

const VERSIONS: Readonly<Record<string, string>> = {
  MeshConfig: 'weft.dev/v1',
  PeerAuthentication: 'security.istio.io/v1',
  ServiceEntry: 'networking.istio.io/v1',
  WorkloadEntry: 'networking.istio.io/v1',
  EndpointSlice: 'discovery.k8s.io/v1',
}

function parse(kind: string, fields: object, metadata: object = {}) {
  const apiVersion = VERSIONS[kind] ?? 'v1'
  const object = { apiVersion, kind, metadata: { name: 'x', ...metadata }, ...fields }
  const { resources, issues } = parseFile('x.yaml', stringify(object))
  return {
    spec: resources[0]?.spec as unknown,
    issues: issues.map(({ severity, path, message }) => `${severity} ${path}: ${message}`),
  }
}

const durations: readonly (readonly [unknown, number | undefined])[] = [
  ['10s', 10_000],
  ['1h30m', 5_400_000],
  ['250ms', 250],
  ['1.5s', 1500],
  [30_000, 30_000],
  [0, 0],
  ['10', undefined],
  ['10 s', undefined],
  ['-1s', undefined],
  [-1, undefined],
  [1.5, undefined],
  ['', undefined],
  [undefined, undefined],
]

for (const [written, expected] of durations) {
  test(`duration ${JSON.stringify(written)}`, (t) => t.is(parseDuration(written), expected))
}

const protocols: readonly (readonly ['TCP' | 'UDP', string | undefined, string, PortProtocol])[] = [
  ['TCP', undefined, '', 'undeclared'],
  ['TCP', undefined, 'http', 'http'],
  ['TCP', undefined, 'HTTP-admin', 'http'],
  ['TCP', undefined, 'httpd', 'undeclared'],
  ['TCP', undefined, 'http2-x', 'http2'],
  ['TCP', undefined, 'grpc-web-x', 'http'],
  ['TCP', undefined, 'https', 'tls'],
  ['TCP', undefined, 'tcp-redis', 'tcp'],
  ['TCP', undefined, 'udp-x', 'undeclared'],
  ['TCP', 'kubernetes.io/h2c', 'tcp', 'http2'],
  ['TCP', 'grpc', 'tcp', 'grpc'],
  ['TCP', 'unheard.of/x', 'tcp-x', 'tcp'],
  ['UDP', undefined, 'http', 'udp'],
]

for (const [transport, appProtocol, name, expected] of protocols) {
  test(`a ${transport} port "${name}" with appProtocol ${appProtocol} is ${expected}`, (t) =>
    t.is(declaredProtocol(transport, appProtocol, name), expected))
}

test('a ServiceEntry port says its protocol in capitals', (t) => {
  t.is(serviceEntryProtocol('UDP', ''), 'udp')
  t.is(serviceEntryProtocol('MONGO', 'x'), 'tcp')
  t.is(serviceEntryProtocol(undefined, 'http-x'), 'http')
})

test('a wildcard without addresses is warned of; a host without is given some', (t) => {
  const remedy = 'a wildcard is given no address; write "addresses", or name the hosts'
  const { issues } = parse('ServiceEntry', { spec: { hosts: ['a.b', '*.a.b'] } })
  t.deepEqual(issues, [`warning spec.hosts[1]: ${remedy}`])
})

test('a headless Service is told from one that is to get an address', (t) => {
  const headless = (spec: object) => parse('Service', { spec }).spec
  t.like(headless({ clusterIP: 'None' }), { headless: true, clusterIps: [] })
  t.like(headless({ clusterIPs: ['None'] }), { headless: true, clusterIps: [] })
  t.like(headless({ clusterIP: '' }), { headless: false, clusterIps: [] })
  t.like(headless({}), { headless: false, clusterIps: [] })
})

test('MeshConfig fills in defaults and takes either form of outboundTrafficPolicy', (t) => {
  t.deepEqual(parse('MeshConfig', { spec: {} }).spec, DEFAULT_MESH_SETTINGS)
  const istio = parse('MeshConfig', { spec: { outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } } })
  const own = parse('MeshConfig', { spec: { outboundTrafficPolicy: 'registry-only' } })
  const expected = { ...DEFAULT_MESH_SETTINGS, outboundTrafficPolicy: 'registry-only' }
  t.deepEqual([istio.spec, own.spec], [expected, expected])
  const graces = parse('MeshConfig', { spec: { enrolGraceMs: '1m', certificateTtlMs: 90_000 } })
  t.like(graces.spec as object, { enrolGraceMs: 60_000, certificateTtlMs: 90_000 })
})

const refused: readonly (readonly [string, object, string])[] = [
  [
    'MeshConfig',
    { spec: { directPath: 'on' } },
    'error spec.directPath: expected node or off, found "on"',
  ],
  [
    'MeshConfig',
    { spec: { certificateTtlMs: 1 } },
    'error spec.certificateTtlMs: expected 1m or longer, found 1',
  ],
  [
    'MeshConfig',
    { spec: { outboundTrafficPolicy: 'none' } },
    'error spec.outboundTrafficPolicy: expected allow-any or registry-only or ALLOW_ANY or REGISTRY_ONLY, found "none"',
  ],
  [
    'PeerAuthentication',
    { spec: { portLevelMtls: { 80: { mode: 'STRICT' } } } },
    'error spec.portLevelMtls: holds only for selected workloads; add "selector.matchLabels", or use "mtls" for all ports',
  ],
  [
    'PeerAuthentication',
    { spec: { selector: { matchLabels: { a: 'b' } }, portLevelMtls: { web: { mode: 'STRICT' } } } },
    'error spec.portLevelMtls.web: expected a port number of the workload, found "web"',
  ],
  [
    'ServiceEntry',
    { spec: { hosts: ['a.b'], addresses: ['10.0.0.1'], resolution: 'DNS' } },
    'error spec.resolution: DNS is not supported yet; use STATIC with endpoints, or NONE',
  ],
  [
    'ServiceEntry',
    { spec: { hosts: ['*'], addresses: ['10.0.0.1'] } },
    'error spec.hosts[0]: a bare "*" would claim every name; name the hosts',
  ],
  [
    'ServiceEntry',
    { spec: { hosts: ['a.b'], addresses: ['10.0.0.1'], resolution: 'STATIC' } },
    'error spec.resolution: STATIC needs "endpoints" or a "workloadSelector"; add one',
  ],
  [
    'ServiceEntry',
    { spec: { hosts: ['a.b'], addresses: ['10.0.0.1'], endpoints: [{ address: '10.0.0.2' }] } },
    'error spec.endpoints: are not used with resolution NONE; use STATIC',
  ],
  [
    'WorkloadEntry',
    { spec: { address: 'unix:///x' } },
    'error spec.address: expected an IP address, found "unix:///x": Unix sockets cannot be tunnelled',
  ],
  [
    'WorkloadEntry',
    { spec: { address: 'db.example' } },
    'error spec.address: expected an IP address, found "db.example": names are not resolved yet',
  ],
  [
    'Service',
    { spec: { ports: [{ port: 80 }, { port: 80 }] } },
    'error spec.ports[1].port: port 80 is listed twice; remove one',
  ],
  [
    'EndpointSlice',
    { addressType: 'IPv4', endpoints: [] },
    'error metadata.labels: does not say which Service it is for; add the label "kubernetes.io/service-name: NAME"',
  ],
]

for (const [kind, fields, expected] of refused) {
  test(`refuses ${kind} ${JSON.stringify(fields)}`, (t) => {
    const { spec, issues } = parse(kind, fields)
    t.deepEqual(issues, [expected])
    t.is(spec, undefined)
  })
}

const PATH_WORDS =
  'the path of one cgroup below the root of cgroup v2, such as system.slice/nginx.service: ' +
  'no "/" in front, no ".", no "..", no wildcards, at most 10 names of at most 94 bytes'

const cgroupPaths: readonly (readonly [string, boolean])[] = [
  ['system.slice/nginx.service', true],
  ['nginx', true],
  ['system.slice/system-getty.slice/getty@tty1.service', true],
  [`a/${'x'.repeat(94)}`, true],
  ['1/2/3/4/5/6/7/8/9/10', true],
  ['', false],
  ['/system.slice/nginx.service', false],
  ['system.slice/', false],
  ['system.slice//nginx.service', false],
  ['system.slice/../nginx.service', false],
  ['./nginx.service', false],
  ['system.slice/*.service', false],
  ['system.slice/nginx.servic?', false],
  ['system.slice/{a,b}', false],
  ['system.slice/a b', false],
  [`a/${'x'.repeat(95)}`, false],
  [`a/${'é'.repeat(48)}`, false],
  ['1/2/3/4/5/6/7/8/9/10/11', false],
]

for (const [path, ok] of cgroupPaths) {
  test(`"${path}" ${ok ? 'is' : 'is not'} the path of a cgroup`, (t) => {
    const annotations = { 'weft.dev/cgroup': path, 'weft.dev/node': 'n1' }
    const entry = parse('WorkloadEntry', { spec: { address: '10.0.0.1' } }, { annotations })
    const found = `expected ${PATH_WORDS}, found ${JSON.stringify(path)}`
    const expected = `error metadata.annotations["weft.dev/cgroup"]: ${found}`
    t.deepEqual(entry.issues, ok ? [] : [expected])
    const mesh = parse('MeshConfig', { spec: { probeCgroups: ['kubelet', path] } })
    t.is(mesh.issues.length, ok ? 0 : 1)
    for (const issue of mesh.issues) {
      t.true(issue.startsWith(`error spec.probeCgroups[1]: expected ${PATH_WORDS}`), issue)
    }
    t.is(mesh.spec !== undefined, ok)
  })
}

test('a Pod is not known by the cgroup of a host process', (t) => {
  const annotations = { 'weft.dev/cgroup': 'system.slice/a.service' }
  t.deepEqual(parse('Pod', { spec: {} }, { annotations }).issues, [
    'warning metadata.annotations["weft.dev/cgroup"]: ignored on a Pod; this annotation belongs on: WorkloadEntry',
  ])
})

test('a pod as a cluster writes it raises no issue', (t) => {
  const { spec, issues } = parse(
    'Pod',
    {
      spec: {
        nodeName: 'n1',
        serviceAccountName: 'web',
        volumes: [{ name: 'v', emptyDir: {} }],
        tolerations: null,
        containers: [{ name: 'c', image: 'i', ports: [{ containerPort: 80, name: 'http' }] }],
      },
      status: {
        phase: 'Running',
        podIP: '10.0.0.1',
        podIPs: [{ ip: '10.0.0.1' }, { ip: 'FD00::1' }],
        conditions: [{ type: 'Ready', status: 'False', lastProbeTime: null }],
        containerStatuses: [],
      },
    },
    {
      uid: 'u',
      creationTimestamp: null,
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-5f', uid: 'u' }],
    },
  )
  t.deepEqual(issues, [])
  t.deepEqual(spec, {
    addresses: ['10.0.0.1', 'fd00::1'],
    node: 'n1',
    serviceAccount: 'web',
    hostNetwork: false,
    ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
    ready: false,
    finished: false,
    owner: { kind: 'ReplicaSet', name: 'web-5f' },
  })
})
