import test from 'ava'
import type { ContainerFacts } from '../model/container.ts'
import { plainWorkload } from '../model/testing/workload.ts'
import type { Workload } from '../model/workload.ts'
import { bindCgroups, type Candidate, globMatches } from './bind-workload.ts'

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

const bind = (candidate: Candidate, workloads: readonly Workload[]) =>
  bindCgroups([candidate], workloads, 'one').get(candidate.path)

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
  t.deepEqual(bind({ path: 'shop_web' }, all), { kind: 'bound', workload: web })
  t.deepEqual(bind({ path: 'shop_web/container' }, all), { kind: 'bound', workload: web })
  t.deepEqual(bind({ path: 'shop_cart' }, all), { kind: 'unknown' })
})

test('refuses to choose between two workloads', (t) => {
  const all = [workload('b', 'shop_*'), workload('a', 'shop_web')]
  t.deepEqual(bind({ path: 'shop_web' }, all), { kind: 'ambiguous', uids: ['uid/a', 'uid/b'] })
})

test('ignores workloads of other nodes and of the host network', (t) => {
  const all = [
    workload('a', 'shop_web', { node: 'two' }),
    workload('b', 'shop_web', { hostNetwork: true }),
  ]
  t.deepEqual(bind({ path: 'shop_web' }, all), { kind: 'unknown' })
})

const ID = '0123456789abcdef'.repeat(4)
const container = (id: string, ...names: readonly string[]): ContainerFacts => ({
  id,
  names,
  sandbox: id,
})
const named = (name: string, pattern: string): Workload =>
  workload(name, undefined, { match: { kind: 'container', pattern } })

const containerMatches: readonly (readonly [string, ContainerFacts, boolean])[] = [
  ['db', container(ID, 'db'), true],
  ['db', container(ID, 'web', 'db'), true],
  ['db', container(ID, 'db-2'), false],
  ['db*', container(ID, 'db'), false],
  ['db', container('db'), true],
  [ID, container(ID), true],
  [ID.slice(0, 12), container(ID), true],
  [ID.slice(0, 11), container(ID), false],
  [ID.slice(1, 13), container(ID), false],
  ['shop/web-0', container(ID, 'app', 'shop/web-0'), true],
]

for (const [pattern, facts, expected] of containerMatches) {
  const what = `container ${facts.id.slice(0, 6)} called ${facts.names.join(', ')}`
  test(`container=${pattern} ${expected ? 'is' : 'is not'} ${what}`, (t) => {
    const db = named('db', pattern)
    t.deepEqual(
      bind({ path: 'any', container: facts }, [db, workload('web', 'other')]),
      expected ? { kind: 'bound', workload: db } : { kind: 'unknown' },
    )
  })
}

test('a cgroup that is no container, or unknown as one, is bound by no name', (t) => {
  t.deepEqual(bind({ path: 'db' }, [named('db', 'db')]), { kind: 'unknown' })
})

test('a container that two workloads name, each in its way, is refused', (t) => {
  const all = [named('b', 'db'), workload('a', 'docker-*.scope')]
  const path = `docker-${ID}.scope`
  t.deepEqual(bind({ path, container: container(ID, 'db') }, all), {
    kind: 'ambiguous',
    uids: ['uid/a', 'uid/b'],
  })
})

test('a name or a prefix that two containers share is good for neither', (t) => {
  const other = `${ID.slice(0, 12)}${'0'.repeat(52)}`
  for (const pattern of ['db', ID.slice(0, 12)]) {
    const bindings = bindCgroups(
      [
        { path: 'x', container: container(ID, 'db') },
        { path: 'x/inner', container: container(ID, 'db') },
        { path: 'y', container: container(other, 'db') },
      ],
      [named('db', pattern)],
      'one',
    )
    const crowded = { kind: 'crowded', uid: 'uid/db', containers: [ID, other].sort() }
    t.deepEqual([...bindings.values()], [crowded, crowded, crowded])
  }
})

test('the containers of one pod are one workload, and so is a container with cgroups inside', (t) => {
  const db = named('db', 'shop/db-0')
  const inPod = (id: string): ContainerFacts => ({ id, names: ['shop/db-0'], sandbox: 'pause' })
  const bindings = bindCgroups(
    [
      { path: 'x', container: inPod('pause') },
      { path: 'y', container: inPod(ID) },
      { path: 'y/init.scope', container: inPod(ID) },
    ],
    [db],
    'one',
  )
  for (const binding of bindings.values()) t.deepEqual(binding, { kind: 'bound', workload: db })
})
