import test from 'ava'
import { plainWorkload } from '../model/testing/workload.ts'
import type { Workload } from '../model/workload.ts'
import { bindCgroup, globMatches } from './bind-workload.ts'

const globs: readonly (readonly [string, string, boolean])[] = [
  ['shop_web', 'shop_web', true],
  ['shop_web', 'shop_web2', false],
  ['shop_*', 'shop_web', true],
  ['shop_*', 'shop_web/inner', false],
  ['*', 'a/b', false],
  ['**', 'a/b', true],
  ['**/web', 'a/b/web', true],
  ['**/web', 'web', true],
  ['a/*/c', 'a/b/c', true],
  ['a?c', 'abc', true],
  ['a?c', 'ac', false],
  ['*a*b*', 'xxaxxbxx', true],
  ['*a*b', 'xxaxxbxx', false],
  ['', 'a', false],
]

for (const [pattern, path, expected] of globs) {
  test(`"${pattern}" ${expected ? 'matches' : 'does not match'} "${path}"`, (t) =>
    t.is(globMatches(pattern, path), expected))
}

const workload = (
  name: string,
  pattern: string | undefined,
  more: Partial<Workload> = {},
): Workload =>
  plainWorkload(name, {
    uid: `uid/${name}`,
    ...(pattern === undefined ? {} : { match: { kind: 'cgroup', pattern } }),
    ...more,
  })

test('binds a cgroup and the cgroups inside it to the one workload that names it', (t) => {
  const web = workload('web', 'shop_web')
  const all = [web, workload('db', 'shop_db'), workload('plain', undefined)]
  t.deepEqual(bindCgroup('shop_web', all, 'one'), { kind: 'bound', workload: web })
  t.deepEqual(bindCgroup('shop_web/container', all, 'one'), { kind: 'bound', workload: web })
  t.deepEqual(bindCgroup('shop_cart', all, 'one'), { kind: 'unknown' })
})

test('refuses to choose between two workloads', (t) => {
  const all = [workload('b', 'shop_*'), workload('a', 'shop_web')]
  t.deepEqual(bindCgroup('shop_web', all, 'one'), { kind: 'ambiguous', uids: ['uid/a', 'uid/b'] })
})

test('ignores workloads of other nodes and of the host network', (t) => {
  const all = [
    workload('a', 'shop_web', { node: 'two' }),
    workload('b', 'shop_web', { hostNetwork: true }),
  ]
  t.deepEqual(bindCgroup('shop_web', all, 'one'), { kind: 'unknown' })
})
