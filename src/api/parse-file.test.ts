import test from 'ava'
import { LIMITS } from '../model/limits.ts'
import { parseFile } from './parse-file.ts'
import { formatIssue } from './print-issue.ts'

const issuesOf = (text: string, file = 'a.yaml'): string[] =>
  parseFile(file, text).issues.map(formatIssue)

const ACCOUNT = 'apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: web\n'

const texts: readonly (readonly [string, string, readonly string[]])[] = [
  ['an empty file', '', []],
  ['empty documents between others', `---\n---\n${ACCOUNT}---\n`, []],
  [
    'an unclosed list',
    'a: [',
    [
      'a.yaml:1:5: error: Flow sequence in block collection must be sufficiently indented and end with a ]',
    ],
  ],
  ['tabs', '\ta: 1', ['a.yaml:1:1: error: Tabs are not allowed as indentation']],
  ['a key written twice', 'a: 1\na: 2', ['a.yaml:2:1: error: Map keys must be unique']],
  [
    'a list instead of a resource',
    '- 1',
    ['a.yaml:1:1: error: expected a resource with apiVersion, kind and metadata'],
  ],
  [
    'a resource without kind',
    'apiVersion: v1\nmetadata: { name: x }',
    ['a.yaml:1:1: error: default/x: "kind" is missing; add it'],
  ],
  [
    'a mistyped kind',
    'apiVersion: v1\nkind: Servic\nmetadata: { name: x }',
    [
      'a.yaml:2:7: warning: Servic default/x: kind: kind Servic of v1 is not known and not read; did you mean "Service"?',
    ],
  ],
  [
    'a mistyped kind that restricts',
    'apiVersion: security.istio.io/v1\nkind: AuthorisationPolicy\nmetadata: { name: x }',
    [
      'a.yaml:2:7: error: AuthorisationPolicy default/x: kind: kind AuthorisationPolicy of security.istio.io/v1 is not known and not read; did you mean "AuthorizationPolicy"?',
    ],
  ],
  [
    'a kind that is not honoured yet',
    'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: x }',
    [
      'a.yaml:2:7: warning: VirtualService default/x: kind: kind VirtualService is not honoured yet, ignored: routes are not applied',
    ],
  ],
  [
    'a version of a known kind that does not exist',
    'apiVersion: v2\nkind: Service\nmetadata: { name: x }\nspec: {}',
    ['a.yaml:1:13: error: Service default/x: apiVersion: expected v1 for a Service, found "v2"'],
  ],
  [
    'a mistyped field',
    'apiVersion: v1\nkind: Service\nmetadata: { name: x }\nspec:\n  selectr: { a: b }',
    [
      'a.yaml:5:3: warning: Service default/x: spec.selectr: unknown field, ignored; did you mean "selector"?',
    ],
  ],
  [
    'values of the wrong type, all of them at once',
    'apiVersion: v1\nkind: Pod\nmetadata: { name: x, labels: { a: 1 } }\nspec:\n  hostNetwork: "yes"\nstatus:\n  podIP: 10.0.0.300',
    [
      'a.yaml:3:35: error: Pod default/x: metadata.labels.a: expected a text, found 1; put it in quotes: "1"',
      'a.yaml:5:16: error: Pod default/x: spec.hostNetwork: expected true or false, found "yes"',
      'a.yaml:7:10: error: Pod default/x: status.podIP: expected an IPv4 or IPv6 address, found "10.0.0.300"',
    ],
  ],
  [
    'an enum in the wrong case',
    'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: x }\nspec: { mtls: { mode: strict } }',
    [
      'a.yaml:4:23: error: PeerAuthentication default/x: spec.mtls.mode: expected UNSET or STRICT or PERMISSIVE or DISABLE, found "strict"; did you mean "STRICT"?',
    ],
  ],
  [
    'the same resource twice in a file',
    `${ACCOUNT}---\n${ACCOUNT}`,
    [
      'a.yaml:6:1: error: ServiceAccount default/web: is written a second time; the first is at a.yaml:1',
    ],
  ],
  [
    'a mistyped annotation, one on the wrong kind and one with a wrong value',
    'apiVersion: v1\nkind: Service\nmetadata:\n  name: x\n  annotations:\n    weft.dev/pat: direct\n    weft.dev/node: n1\n    weft.dev/path: indirect\nspec: {}',
    [
      'a.yaml:6:19: warning: Service default/x: metadata.annotations["weft.dev/pat"]: unknown annotation, ignored; did you mean "weft.dev/path"?',
      'a.yaml:7:20: warning: Service default/x: metadata.annotations["weft.dev/node"]: ignored on a Service; this annotation belongs on: WorkloadEntry',
      'a.yaml:8:20: error: Service default/x: metadata.annotations["weft.dev/path"]: expected "direct", found "indirect"',
    ],
  ],
]

for (const [title, text, expected] of texts) {
  test(`reports ${title}`, (t) => t.deepEqual(issuesOf(text), expected))
}

test('a list gives its items, and names their places', (t) => {
  const parsed = parseFile(
    'a.yaml',
    'apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ServiceAccount\n  metadata: { name: web }\n- 7\n',
  )
  t.deepEqual(parsed.issues.map(formatIssue), [
    'a.yaml:7:3: error: expected a resource with apiVersion, kind and metadata',
  ])
  const good = parseFile(
    'a.yaml',
    'kind: List\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: ServiceAccount\n  metadata: { name: web }\n',
  )
  t.deepEqual(good.resources[0]?.origin, { file: 'a.yaml', line: 4, column: 3 })
})

test('JSON with tabs is read, with positions', (t) => {
  const object = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'web' } }
  t.is(parseFile('a.json', JSON.stringify(object, undefined, '\t')).resources.length, 1)
  const bad = JSON.stringify({ ...object, metadata: { name: 'Web' } }, undefined, 2)
  t.deepEqual(issuesOf(bad, 'a.json'), [
    'a.json:5:13: error: ServiceAccount default/Web: metadata.name: expected a DNS name: lower-case letters, digits, "-" and ".", found "Web"',
  ])
})

test('one error keeps every resource of the file out', (t) => {
  const text = `${ACCOUNT}---\napiVersion: v1\nkind: Pod\nmetadata: { name: x }\n`
  const parsed = parseFile('a.yaml', text)
  t.deepEqual(parsed.resources, [])
  t.deepEqual([...(parsed.kinds ?? [])], ['ServiceAccount', 'Pod'])
})

test('a warning does not', (t) => {
  const parsed = parseFile('a.yaml', `${ACCOUNT}secret: x\n`)
  t.is(parsed.issues[0]?.severity, 'warning')
  t.is(parsed.resources.length, 1)
})

const bombs: readonly (readonly [string, string, RegExp])[] = [
  ['nested lists', '['.repeat(100_000), /nested too deeply$/],
  ['nested maps', '{"a":'.repeat(50_000), /nested too deeply$/],
  [
    'aliases of aliases',
    `a: &a [1,1]\n${'bcdef'
      .split('')
      .map((name, at) => `${name}: &${name} [${`*${'abcde'[at]},`.repeat(10)}]`)
      .join('\n')}`,
    /more than 100 alias expansions$/,
  ],
  [
    'a file of 10 MB',
    `# ${'x'.repeat(10_000_000)}`,
    /^a\.yaml: error: is 9\.5 MiB large, more than the 4\.0 MiB one file may have; split it$/,
  ],
]

for (const [title, text, expected] of bombs) {
  test(`refuses ${title} as one issue`, (t) => {
    const parsed = parseFile('a.yaml', text)
    t.is(parsed.issues.length, 1)
    t.regex(parsed.issues.map(formatIssue)[0] ?? '', expected)
    t.is(parsed.kinds, undefined, 'what it held is unknown')
  })
}

test('the limit counts characters before parsing', (t) => {
  t.deepEqual(issuesOf(`#${' '.repeat(LIMITS.configFileBytesMax - 1)}`), [])
})

test('a key named like a property of every object is an unknown field', (t) => {
  const [issue] = issuesOf(`${ACCOUNT}__proto__: { kind: Service }\n`)
  t.regex(issue ?? '', /__proto__: unknown field, ignored/)
  t.is(({} as Record<string, unknown>).kind, undefined)
})

test('more issues than anyone reads are counted', (t) => {
  const fields = Array.from({ length: 250 }, (_, at) => `field${at}: 1`).join('\n')
  const { issues } = parseFile('a.yaml', `${ACCOUNT}${fields}\n`)
  t.is(issues.length, LIMITS.issuesPerFileMax + 1)
  t.is(issues.at(-1)?.severity, 'warning')
  t.is(issues.at(-1)?.message, 'has 150 more issues like these')
})
