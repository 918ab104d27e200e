import test from 'ava'
import { cycles, importGraph } from './graph.ts'
import { impurities, notData, RANKS, roomOf, wrongEdges } from './rooms.ts'
import { files } from './tree.ts'

const sources = files('src/**/*.ts')

test('every file of src is in a known room', (t) => {
  const homeless = sources.filter(({ path }) => RANKS[roomOf(path) ?? ''] === undefined)
  t.deepEqual(
    homeless.map(({ path }) => path),
    [],
  )
})

test('files import only rooms of a lower rank', (t) => {
  t.deepEqual(wrongEdges(sources), [])
})

test('there are no import cycles, types included', (t) => {
  t.deepEqual(cycles(importGraph(sources)), [])
  t.deepEqual(
    cycles(importGraph(files('test/**/*.ts', 'demo/**/*.ts', 'scripts/*.mjs', 'bin/*.mjs'))),
    [],
  )
})

test('pure rooms touch no world, no clock and no dice', (t) => {
  t.deepEqual(impurities(sources), [])
})

test('the model is data only', (t) => {
  t.deepEqual(notData(sources), [])
})

// The rules must be able to fail.

const file = (path: string, text: string) => ({ path, text })

const EDGES: readonly (readonly [string, string, string, boolean])[] = [
  ['down', 'src/policy/a.ts', "import { b } from '../model/b.ts'", false],
  ['within', 'src/policy/a.ts', "import { b } from './deep/b.ts'", false],
  ['sideways', 'src/policy/a.ts', "import type { B } from '../routing/b.ts'", true],
  ['up', 'src/base/a.ts', "export { b } from '../model/b.ts'", true],
  ['up, late', 'src/base/a.ts', "const b = await import('../model/b.ts')", true],
  ['forbidden', 'src/proxy/a.ts', "import { b } from '../discovery/b.ts'", true],
  ['out', 'src/cli/a.ts', "import { b } from '../../test/lab/b.ts'", true],
  ['no room', 'src/misc/a.ts', "import { b } from '../base/b.ts'", true],
  ['a test', 'src/base/a.test.ts', "import { b } from '../model/b.ts'", false],
  ['a comment', 'src/base/a.ts', "// import { b } from '../model/b.ts'", false],
]

for (const [what, path, text, isWrong] of EDGES) {
  test(`an edge ${what} is ${isWrong ? 'found' : 'allowed'}`, (t) => {
    t.is(wrongEdges([file(path, text)]).length, isWrong ? 1 : 0)
  })
}

test('impurities are found in pure rooms only', (t) => {
  const text = "import fs from 'node:fs'\nconst now = Date.now()\nconst s = 'Math.random'"
  t.is(impurities([file('src/policy/a.ts', text)]).length, 2)
  t.is(impurities([file('src/agent/a.ts', text)]).length, 0)
  t.is(impurities([file('src/api/a.ts', "import { parse } from 'yaml'")]).length, 0)
})

test('a model with behaviour is found', (t) => {
  t.is(notData([file('src/model/a.ts', 'export class A {}')]).length, 1)
  t.is(notData([file('src/model/a.ts', 'let count = 0')]).length, 1)
  t.is(notData([file('src/model/a.ts', 'export interface A { readonly class: string }')]).length, 0)
})

test('cycles are found, through types as well', (t) => {
  const loop = [
    file('src/base/a.ts', "import type { B } from './b.ts'"),
    file('src/base/b.ts', "import { c } from './c.ts'"),
    file('src/base/c.ts', "export type { A } from './a.ts'"),
    file('src/base/d.ts', "import './a.ts'"),
  ]
  t.deepEqual(cycles(importGraph(loop)), [['src/base/a.ts', 'src/base/b.ts', 'src/base/c.ts']])
})
