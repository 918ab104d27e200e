import test from 'ava'
import type { Answer } from 'dns-packet'
import fc from 'fast-check'
import { address, answerOf, question, reading } from '../testing/dns.ts'
import { AnswerCache, lifetimeS } from './cache.ts'
import { outline } from './wire.ts'

const asked = question('x.example', { id: 1 })
const NAME_ERROR = 0x183
const SERVER_FAILURE = 0x182
const TRUNCATED = 0x380

const soa = (ttl: number, minimum: number): Answer => ({
  type: 'SOA',
  name: 'example',
  ttl,
  data: { mname: 'ns.example', rname: 'root.example', minimum },
})

const lifetimes: readonly (readonly [string, Buffer, number])[] = [
  ['one address', answerOf(asked, [address('x.example', '10.0.0.1', 7)]), 7],
  [
    'the shortest of several',
    answerOf(asked, [address('x.example', '10.0.0.1', 7), address('x.example', '10.0.0.2', 3)]),
    3,
  ],
  ['not for long', answerOf(asked, [address('x.example', '10.0.0.1', 86_400)]), 30],
  ['not at all', answerOf(asked, [address('x.example', '10.0.0.1', 0)]), 0],
  ['a negative one', answerOf(asked, [address('x.example', '10.0.0.1', 0x80000001)]), 0],
  ['nothing there, as its SOA says', answerOf(asked, [], { authorities: [soa(20, 5)] }), 5],
  ['nothing there, as long as the SOA lives', answerOf(asked, [], { authorities: [soa(4, 5)] }), 4],
  ['nothing there, for nobody knows how long', answerOf(asked, []), 0],
  ['no such name', answerOf(asked, [], { flags: NAME_ERROR, authorities: [soa(20, 6)] }), 6],
  ['no such name, for nobody knows how long', answerOf(asked, [], { flags: NAME_ERROR }), 0],
  [
    'a failure',
    answerOf(asked, [address('x.example', '10.0.0.1', 7)], { flags: SERVER_FAILURE }),
    0,
  ],
  ['cut off', answerOf(asked, [address('x.example', '10.0.0.1', 7)], { flags: TRUNCATED }), 0],
]

for (const [name, answer, expected] of lifetimes) {
  test(`${name}: ${expected} s`, (t) => {
    const parts = outline(answer)
    t.is(parts && lifetimeS(answer, parts), expected)
  })
}

test('an answer ages, and is gone at its end', (t) => {
  const cache = new AnswerCache()
  const answer = answerOf(asked, [
    address('x.example', '10.0.0.1', 7),
    address('x.example', '10.0.0.2', 9),
  ])
  cache.put('x', answer, 1_000)
  const at = (nowMs: number) => {
    const got = cache.get('x', 0xbeef, nowMs)
    return (
      got && {
        id: reading(got).id,
        records: reading(got).records.map((each) => each.split(' ')[1]),
      }
    )
  }
  t.deepEqual(at(1_000), { id: 0xbeef, records: ['7', '9'] })
  t.deepEqual(at(4_999), { id: 0xbeef, records: ['4', '6'] })
  t.deepEqual(at(7_999), { id: 0xbeef, records: ['1', '3'] })
  t.is(at(8_000), undefined)
  t.is(cache.bytes, 0)
})

test('what was given out can be changed without harm', (t) => {
  const cache = new AnswerCache()
  const answer = answerOf(asked, [address('x.example', '10.0.0.1', 7)])
  cache.put('x', answer, 0)
  answer.fill(0)
  cache.get('x', 1, 0)?.fill(0)
  t.deepEqual(reading(cache.get('x', 1, 0) ?? Buffer.alloc(0)).records, ['x.example 7 A 10.0.0.1'])
})

test('a clock that is set back ends lifetimes', (t) => {
  const cache = new AnswerCache()
  cache.put('x', answerOf(asked, [address('x.example', '10.0.0.1', 7)]), 10_000)
  t.is(cache.get('x', 1, 9_999), undefined)
})

test('a newer answer that may not be kept takes the older one with it', (t) => {
  const cache = new AnswerCache()
  cache.put('x', answerOf(asked, [address('x.example', '10.0.0.1', 7)]), 0)
  cache.put('x', answerOf(asked, []), 1)
  t.is(cache.get('x', 1, 2), undefined)
})

test('the one used least recently gives way', (t) => {
  const cache = new AnswerCache({ entriesMax: 2, bytesMax: 10_000 })
  const answer = answerOf(asked, [address('x.example', '10.0.0.1', 7)])
  cache.put('a', answer, 0)
  cache.put('b', answer, 0)
  cache.get('a', 1, 0)
  cache.put('c', answer, 0)
  t.deepEqual(
    ['a', 'b', 'c'].map((key) => cache.get(key, 1, 0) !== undefined),
    [true, false, true],
  )
})

test('never more than its bytes, whatever comes', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.string(), fc.integer({ min: 1, max: 60 }), fc.nat({ max: 40 }))),
      (puts) => {
        const cache = new AnswerCache({ entriesMax: 10, bytesMax: 4_000 })
        for (const [key, ttl, count] of puts) {
          const list = Array.from({ length: count }, (_, at) =>
            address('x.example', `10.0.0.${at}`, ttl),
          )
          cache.put(key, answerOf(asked, list), 0)
          t.true(cache.bytes <= 4_000)
        }
      },
    ),
  )
  t.pass()
})

test('bytes that are no answer are not kept, and hurt nobody', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(), (bytes, nowMs) => {
      const cache = new AnswerCache()
      cache.put('x', Buffer.from(bytes), 0)
      cache.get('x', 1, nowMs % 40_000)
    }),
    { numRuns: 2_000 },
  )
  t.pass()
})
