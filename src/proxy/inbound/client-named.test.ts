import test from 'ava'
import { spiffe } from '../testing/identities.ts'
import { tablesOf, workload } from '../testing/world.ts'
import { clientNamed } from './client-named.ts'

const HERE = '10.0.0.10'
const shared = { hostNetwork: true, node: 'one' } as const
const TO = workload('to', '10.1.0.1', { node: 'one' })
const ALL = [
  TO,
  workload('pod', '10.1.0.2', { node: 'one' }),
  workload('web', HERE, shared),
  workload('web-too', '10.0.0.20', { ...shared, node: 'two', serviceAccount: 'web' }),
  workload('twin', HERE, { ...shared, serviceAccount: 'twins' }),
  workload('twin-too', HERE, { ...shared, serviceAccount: 'twins' }),
  workload('abroad', HERE, { ...shared, network: 'abroad' }),
  workload('nowhere', '10.0.0.30', { hostNetwork: true, node: '' }),
]

const CASES: readonly (readonly [string, string, string, string | undefined])[] = [
  ['a pod at its address', 'pod', '10.1.0.2', 'pod'],
  ['a pod at the address of another', 'pod', '10.1.0.1', undefined],
  ['a pod at an address of nobody', 'pod', '10.1.0.9', undefined],
  ['a host-network workload at its address', 'web', HERE, 'web'],
  ['one of the same identity on another node', 'web', '10.0.0.20', 'web-too'],
  ['one at another address of our node', 'web', '10.1.0.254', 'web'],
  ['one at the address of a pod', 'web', '10.1.0.2', undefined],
  ['one of two at an address', 'twins', HERE, undefined],
  ['one of another network', 'abroad', HERE, undefined],
  ['one of an unknown node', 'nowhere', '10.1.0.254', undefined],
  ['nobody we know', 'stranger', HERE, undefined],
]

for (const [title, account, ip, expected] of CASES) {
  test(`names ${title}: ${expected}`, (t) => {
    const tables = tablesOf(1, { workloads: ALL })
    const named = clientNamed(tables, spiffe(account), ip, TO.uid)
    t.is(named?.name, expected)
    t.is(named?.namespace, 'default')
  })
}

test('without tables the identity alone speaks', (t) => {
  t.deepEqual(clientNamed(undefined, spiffe('web'), HERE, TO.uid), { namespace: 'default' })
})
