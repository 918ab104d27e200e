import test from 'ava'
import type { Status, WorkloadRow } from '../admin/shapes.ts'
import { statusText } from './status-command.ts'

const STATUS: Status = {
  version: '1.0.0',
  node: 'one',
  pid: 42,
  startedAt: '',
  uptimeMs: 180_000,
  config: {
    version: 4,
    state: 'last-good',
    issues: [{ severity: 'error', text: 'a.yaml:3: kind: no such kind' }],
    issuesLeftOut: 2,
  },
  workers: { wanted: 2, alive: [1] },
  kernel: { release: '6.1.0', forms: { guard: 'clsact', end: 'inet_diag' } },
  workloads: { known: 9, local: 2, enrolled: 1 },
  services: 3,
  policies: 1,
  certificates: { valid: 1, awaited: 1, failing: 0 },
  counters: { weft_udp_passthrough_total: 0, weft_direct_total: 7, weft_captured_total: 0 },
  dns: {},
}

const WORKLOAD: WorkloadRow = {
  uid: 'u',
  namespace: 'shop',
  name: 'web',
  node: 'one',
  identity: 'spiffe://a/ns/shop/sa/web',
  addresses: [],
  network: 'pod',
  enrolled: false,
  why: 'waits for its certificate',
  services: [],
  policies: [],
  peerMode: 'strict',
  peerModeByPort: {},
  inMesh: true,
}

test('the status says what is wrong, where, and what is counted', (t) => {
  t.deepEqual(statusText(STATUS, [WORKLOAD, { ...WORKLOAD, enrolled: true }]).split('\n'), [
    'one: weft 1.0.0, process 42, up 3 min',
    '  configuration  version 4 stays in force, the newest cannot be:',
    '    error: a.yaml:3: kind: no such kind',
    '    and 2 more',
    '  workers        1 of 2',
    '  kernel         6.1.0, guard by clsact, end by inet_diag',
    '  workloads      1 of 2 of this node are in the mesh, which knows 9',
    '    not shop/web: waits for its certificate',
    '  services       3, 1 authorization policies',
    '  certificates   1 valid, 1 awaited, 0 failing',
    '  counters',
    '    weft_udp_passthrough_total 0',
    '    weft_direct_total 7',
  ])
})

test('an agent with its newest configuration says so in a few words', (t) => {
  const config = { version: 1, state: 'in-force', issues: [], issuesLeftOut: 0 } as const
  t.true(statusText({ ...STATUS, config }, []).includes('version 1 is in force'))
  const refusal = 'the trust domain changed'
  const refused = { ...config, state: 'last-good', refusal } as const
  t.true(statusText({ ...STATUS, config: refused }, []).includes(`cannot be: ${refusal}`))
})
