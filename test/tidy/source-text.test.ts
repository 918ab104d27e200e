// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the samples are source text
import test from 'ava'
import { importsOf, mask } from './source-text.ts'

const CASES: readonly (readonly [string, string])[] = [
  ["a = 'b // c' // d", "a = '      '     "],
  ['a /* b */ c', 'a         c'],
  ['a = `b ${c + `d`} e`', 'a = `  ${c + ` `}  `'],
  ['a = `${{ b: 1 }}c` + d', 'a = `${{ b: 1 }} ` + d'],
  ['a = /[/\'"]/.test(b) / c', 'a = /     /.test(b) / c'],
  ["a = 'it\\'s' + b", "a = '     ' + b"],
  ['a / b / c', 'a / b / c'],
]

for (const [text, code] of CASES) {
  test(`code of ${text}`, (t) => {
    t.is(mask(text).code, code)
  })
}

test('comments keep their place', (t) => {
  t.is(mask("a('//') // why").comments, '        // why')
})

test('finds every kind of import', (t) => {
  const text = [
    "import './side-effect.ts'",
    "import a, { b } from './a.ts'",
    'import type {',
    '  C,',
    "} from './c.ts'",
    "export { d } from './d.ts'",
    "export * from './e.ts'",
    "export const f = 'not an import'",
    "const g = await import('./g.ts')",
    "// import h from './h.ts'",
    "const i = `import i from './i.ts'`",
    "import j from 'yaml'",
  ].join('\n')
  t.deepEqual(
    importsOf(text).map(({ specifier, line, isType }) => [specifier, line, isType]),
    [
      ['./side-effect.ts', 1, false],
      ['./a.ts', 2, false],
      ['./c.ts', 5, true],
      ['./d.ts', 6, false],
      ['./e.ts', 7, false],
      ['./g.ts', 9, false],
      ['yaml', 12, false],
    ],
  )
})
