import test from 'ava'
import { tapReader } from './tap.mjs'

function read(text) {
  const results = []
  const others = []
  const reader = tapReader({ onResult: (r) => results.push(r), onOther: (o) => others.push(o) })
  for (const line of text.split('\n')) reader.line(line)
  reader.end()
  return { results, others }
}

test('reads passes, failures with their diagnosis, skipped and planned tests', (t) => {
  const { results, others } = read(
    [
      'TAP version 13',
      'ok 1 - a - b # not a directive',
      'not ok 2 - bad',
      '  ---',
      '    name: AssertionError',
      '    text: |-',
      'ok 9 - inside the diagnosis',
      '  ...',
      'ok 3 - skipped # SKIP',
      'not ok 4 - later # TODO',
      '#   a log line',
      'not ok 5 - file exited with a non-zero exit code: 1',
      '',
      '1..5',
      '# tests 5',
      '# pass 1',
      '# fail 2',
    ].join('\n'),
  )
  t.deepEqual(
    results.map(({ title, outcome }) => [title, outcome]),
    [
      ['a - b # not a directive', 'passed'],
      ['bad', 'failed'],
      ['skipped', 'skipped'],
      ['later', 'skipped'],
      ['file exited with a non-zero exit code: 1', 'failed'],
    ],
  )
  t.deepEqual(results[1].diagnosis.slice(0, 1), ['    name: AssertionError'])
  t.deepEqual(others, ['#   a log line'])
})

test('an output that breaks off keeps what it said', (t) => {
  t.deepEqual(
    read('not ok 1 - cut').results.map(({ outcome }) => outcome),
    ['failed'],
  )
  t.deepEqual(read('').results, [])
})
