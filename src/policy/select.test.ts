import test from 'ava'
import type { AuthorizationPolicy } from '../model/authorization.ts'
import { policiesFor } from './select.ts'

const policy = (key: string, selector?: Record<string, string>): AuthorizationPolicy => {
  const [namespace = '', name = ''] = key.split('/')
  const scope = selector === undefined ? {} : { selector }
  return { key, name, namespace, action: 'deny', rules: [], dryRun: false, origin: '', ...scope }
}

const WORKLOAD = { namespace: 'shop', labels: { app: 'web', tier: 'front' } }

const cases: readonly (readonly [string, AuthorizationPolicy, boolean])[] = [
  ['of its namespace', policy('shop/a'), true],
  ['of another namespace', policy('other/a'), false],
  ['of the root namespace', policy('root/a'), true],
  ['that selects one of its labels', policy('shop/a', { app: 'web' }), true],
  ['that selects two of its labels', policy('shop/a', { app: 'web', tier: 'front' }), true],
  ['that selects a label with another value', policy('shop/a', { app: 'db' }), false],
  ['that selects a label it lacks', policy('shop/a', { app: 'web', zone: 'x' }), false],
  ['that selects an inherited property', policy('shop/a', { toString: 'x' }), false],
  ['with an empty selector', policy('shop/a', {}), true],
  ['of the root namespace that selects it', policy('root/a', { app: 'web' }), true],
  ['of the root namespace that selects others', policy('root/a', { app: 'db' }), false],
]

for (const [name, one, selected] of cases) {
  test(`a policy ${name} ${selected ? 'holds' : 'does not hold'}`, (t) => {
    t.deepEqual(policiesFor(WORKLOAD, [one], 'root'), selected ? [one.key] : [])
  })
}

test('keys come sorted', (t) => {
  const all = ['shop/b', 'root/z', 'shop/a'].map((key) => policy(key))
  t.deepEqual(policiesFor(WORKLOAD, all, 'root'), ['root/z', 'shop/a', 'shop/b'])
})
