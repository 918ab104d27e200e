import test from 'ava'
import * as form from './form.ts'
import { files } from './tree.ts'

const sources = files('src/**/*.ts')
const scripts = files('scripts/*.mjs', 'bin/*.mjs')
const tests = files('test/**/*.ts', 'demo/**/*.ts')
const native = files('native/**/*.{cc,h}')
const bpf = files('bpf/**/*.{c,h}').filter(({ path }) => !path.endsWith('vmlinux.h'))

const RULES = [
  ['files are short', form.tooLong([...sources, ...scripts, ...tests, ...native, ...bpf])],
  ['functions are short', form.longFunctions([...sources, ...scripts, ...tests])],
  ['nothing is exported as default', form.defaultExports([...sources, ...tests])],
  ['there are no barrels', form.barrels([...sources, ...tests])],
  ['there are no enums', form.enums([...sources, ...tests])],
  ['any and ! say why', form.unexplained([...sources, ...tests])],
  ['no test is idle', form.idleTests([...sources, ...scripts, ...tests])],
  ['native and BPF sources name their licence', form.withoutLicence([...native, ...bpf])],
] as const

for (const [rule, violations] of RULES) {
  test(rule, (t) => {
    t.deepEqual(violations, [])
  })
}

test('the rules see every part of the tree', (t) => {
  for (const part of [sources, scripts, tests, native, bpf]) t.true(part.length > 0)
})

// The rules must be able to fail.

const at = (text: string, path = 'src/base/a.ts') => [{ path, text }]
const body = (lines: number) => Array(lines).fill('  work()').join('\n')

test('long files and functions are found', (t) => {
  t.is(form.tooLong(at('x\n'.repeat(401))).length, 1)
  t.is(form.tooLong(at('x\n'.repeat(400))).length, 0)
  t.is(form.tooLong(at('x\n'.repeat(401), 'src/base/a.test.ts')).length, 0)
  for (const head of [
    'export async function f(a: number): Promise<void> {',
    'const f = (a: number) => {',
    'function f(\n  a: number,\n): void {',
  ]) {
    t.is(form.longFunctions(at(`${head}\n${body(61)}\n}`)).length, 1, head)
    t.is(form.longFunctions(at(`${head}\n${body(60)}\n}`)).length, 0, head)
  }
  const method = `class A {\n  async #go(a: number): Promise<void> {\n${body(61)}\n  }\n}`
  t.is(form.longFunctions(at(method)).length, 1)
  const inner = `  g(() => {\n${body(40)}\n  })`
  t.is(form.longFunctions(at(`function f() {\n${inner}\n${inner}\n}`)).length, 0, 'a list')
  t.is(form.longFunctions(at(`function f() {\n${inner}\n${body(61)}\n}`)).length, 1)
  t.is(form.longFunctions(at(`class A {\n${body(90)}\n}`)).length, 0)
})

const BAD: readonly (readonly [(files: ReturnType<typeof at>) => string[], string])[] = [
  [form.defaultExports, 'export default function f() {}'],
  [form.barrels, "export * from './b.ts'"],
  [form.barrels, "export { b } from './b.ts'"],
  [form.enums, 'export enum A { B }'],
  [form.enums, 'const enum A { B }'],
  [form.unexplained, 'const a: any = 1'],
  [form.unexplained, 'const a = b as any'],
  [form.unexplained, 'const a = b!.c'],
  [form.unexplained, 'f(a[0]!)'],
]

for (const [rule, text] of BAD) {
  test(`found: ${text}`, (t) => {
    t.is(rule(at(text)).length, 1)
    t.is(rule(at(`const s = ${JSON.stringify(text)}`)).length, 0, 'in a string')
  })
}

test('what looks alike is left alone', (t) => {
  for (const text of [
    'if (a !== b) f(!c)',
    'const any = 1',
    'f({ any: 1 }, any)',
    'const a = b! // never empty: checked above',
    '// the map holds every name\nconst a = map.get(b)!',
  ]) {
    t.deepEqual(form.unexplained(at(text)), [], text)
  }
})

test('idle tests are found', (t) => {
  const path = 'src/base/a.test.ts'
  for (const word of ['skip', 'only', 'todo', 'failing', 'serial.skip']) {
    t.is(form.idleTests(at(`test.${word}('a', (t) => t.pass())`, path)).length, 1, word)
  }
  t.is(form.idleTests(at("test.serial('a', (t) => t.pass())", path)).length, 0)
})
