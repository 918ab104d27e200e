import test from 'ava'
import { compile, istio, pod } from './testing/written.ts'

const entry = (annotations: Readonly<Record<string, string>>) =>
  istio('WorkloadEntry', 'db', { address: '10.0.0.1' }, { annotations })

for (const match of ['container=db', 'cgroup=shop_db']) {
  test(`a WorkloadEntry with ${match} must say its node`, (t) => {
    t.deepEqual(compile([entry({ 'weft.dev/match': match })]).issues, [
      '0.yaml:1:1: error: WorkloadEntry shop/db: metadata.annotations["weft.dev/match"]: needs to ' +
        'know its node; add the annotation weft.dev/node: NODE beside it',
    ])
    t.deepEqual(compile([entry({ 'weft.dev/match': match, 'weft.dev/node': 'n1' })]).issues, [])
  })
}

test('a Pod is given its node later, and who has no match needs none', (t) => {
  const annotations = { 'weft.dev/match': 'container=db' }
  t.deepEqual(compile([pod('a', '10.0.0.2', { annotations })]).issues, [])
  t.deepEqual(compile([entry({})]).issues, [])
})
