import test from 'ava'
import {
  initScript,
  moduleClosure,
  serialReader,
  sharedObjects,
  verdict,
  versionedPackage,
} from './kernel-contents.mjs'

test('finds the kernel that the newest package stands for', (t) => {
  const said = (name) => `linux-image-cloud-amd64\n  Depends: ${name}\n`
  t.is(
    versionedPackage(said('linux-image-6.1.0-56-cloud-amd64')),
    'linux-image-6.1.0-56-cloud-amd64',
  )
  t.is(versionedPackage(said('linux-image-6.12.9-cloud-amd64')), undefined)
  t.is(versionedPackage(''), undefined)
})

test('reads shared objects from ldd', (t) => {
  const said = `/usr/sbin/tc:
\tlinux-vdso.so.1 (0x00007ffd)
\tlibbpf.so.1 => /lib/x86_64-linux-gnu/libbpf.so.1 (0x00007f01)
\tlibgone.so.1 => not found
\t/lib64/ld-linux-x86-64.so.2 (0x00007f02)
/usr/bin/static:
\tnot a dynamic executable
/usr/bin/ss:
\tlibbpf.so.1 => /lib/x86_64-linux-gnu/libbpf.so.1 (0x00007f03)`
  t.deepEqual(sharedObjects(said), [
    '/lib/x86_64-linux-gnu/libbpf.so.1',
    '/lib64/ld-linux-x86-64.so.2',
  ])
})

test('takes the modules that are needed, each where Node would find it', (t) => {
  const lock = {
    packages: {
      '': {},
      'node_modules/a': { dependencies: { b: '1', '@s/c': '1' } },
      'node_modules/a/node_modules/b': { dependencies: { d: '1' } },
      'node_modules/@s/c': { optionalDependencies: { absent: '1', b: '1' } },
      'node_modules/b': {},
      'node_modules/d': { dependencies: { a: '1' } },
      'node_modules/unwanted': {},
    },
  }
  t.deepEqual(moduleClosure(lock, ['a']), [
    'node_modules/@s/c',
    'node_modules/a',
    'node_modules/a/node_modules/b',
    'node_modules/b',
    'node_modules/d',
  ])
})

const read = (...lines) => {
  const reader = serialReader()
  return { shown: lines.map((line) => reader.line(line)), end: verdict(reader.state) }
}

test('shows what the tests say, and not what the firmware says', (t) => {
  const { shown, end } = read(
    'Booting\r',
    'weft-kernel: up 6.1.0-56\r',
    '  ✓ one',
    '1 passed, 0 failed',
    'weft-kernel: end 0',
  )
  t.deepEqual(shown, [undefined, undefined, '  ✓ one', '1 passed, 0 failed', undefined])
  t.deepEqual(end, { failure: undefined, totals: '1 passed, 0 failed' })
})

const ENDINGS = [
  ['a kernel that does not come up', ['panic'], /did not come up/, '0 passed, 1 failed'],
  ['a machine that stops', ['weft-kernel: up 6', '3 passed, 0 failed'], /stopped before/],
  ['tests that do not start', ['weft-kernel: up 6', 'weft-kernel: end 127'], /ended with 127/],
  [
    'a failed test',
    ['weft-kernel: up 6', '3 passed, 1 failed', 'weft-kernel: end 1'],
    /tests failed/,
    '3 passed, 1 failed',
  ],
]

for (const [what, lines, failure, totals = '0 passed, 1 failed'] of ENDINGS) {
  test(`${what} is a failure`, (t) => {
    const { end } = read(...lines)
    t.regex(end.failure, failure)
    t.is(end.totals, totals)
  })
}

test('the first program says both words that are waited for', (t) => {
  const script = initScript({ project: '/weft', node: '/n', patience: 8, files: ['a', 'b'] })
  t.regex(script, /^#!\/usr\/bin\/busybox sh\n/)
  t.regex(script, /\n\/n scripts\/test\.mjs a b\n/)
  const said = script.split('\n').flatMap((line) => /^echo "(.*?)\$/.exec(line)?.[1] ?? [])
  t.is(read(...said.map((word) => `${word}1`)).end.failure, 'the tests ended with 1')
})
