import test from 'ava'
import { encode } from 'dns-packet'
import fc from 'fast-check'
import { question } from '../testing/dns.ts'
import { type Query, readQuery } from './query.ts'
import { outline } from './wire.ts'

function read(bytes: Buffer): Query | string {
  const result = readQuery(bytes)
  return result.kind === 'query' ? result.query : result.kind
}

test('a question is read as it was asked', (t) => {
  const query = read(question('Web.Shop.SVC.cluster.local', { type: 'AAAA', edns: 1232 }))
  if (typeof query === 'string') return t.fail(query)
  t.is(query.name, 'web.shop.svc.cluster.local')
  t.is(query.type, 28)
  t.is(query.class, 1)
  t.deepEqual(query.edns, { udpBytes: 1232, version: 0, dnssec: false })
  t.true(query.plain)
  t.true(query.standard)
})

test('options that stand for the asker are seen, also those the library does not know', (t) => {
  const base = question('x.example', { edns: 1232 })
  for (const data of ['000a0008aaaaaaaaaaaaaaaa', '00080000', '0008000400ff2000', 'fde90000']) {
    const option = Buffer.from(data, 'hex')
    const bytes = Buffer.concat([base, option])
    bytes.writeUInt16BE(option.length, base.length - 2)
    const query = read(bytes)
    if (typeof query === 'string') return t.fail(`${data}: ${query}`)
    t.false(query.plain)
    t.is(query.name, 'x.example')
  }
})

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
const HEAD = '0001 0100 0001 0000 0000 0000'

const odd: readonly (readonly [string, Buffer, string])[] = [
  ['nothing', Buffer.alloc(0), 'ignored'],
  ['eleven bytes', Buffer.alloc(11), 'ignored'],
  ['an answer', hex('0001 8180 0001 0000 0000 0000 00 0001 0001'), 'ignored'],
  ['a header without a question', hex('0001 0100 0000 0000 0000 0000'), 'malformed'],
  ['two questions', hex(`0001 0100 0002 0000 0000 0000 00 0001 0001 00 0001 0001`), 'malformed'],
  ['a question that is not there', hex(HEAD), 'malformed'],
  ['a name without an end', hex(`${HEAD} 03777777`), 'malformed'],
  ['a name that points at itself', hex(`${HEAD} c00c 0001 0001`), 'malformed'],
  ['a name that points at the header', hex(`${HEAD} c000 0001 0001`), 'malformed'],
  ['labels and then a pointer', hex(`${HEAD} 0177 c00c 0001 0001`), 'malformed'],
  ['a label of another kind', hex(`${HEAD} 4177 00 0001 0001`), 'malformed'],
  ['a type cut off', hex(`${HEAD} 00 0001 00`), 'malformed'],
  [
    '65535 records that are not there',
    hex('0001 0100 0001 ffff ffff ffff 00 0001 0001'),
    'malformed',
  ],
  [
    'a record longer than the message',
    hex('0001 0100 0001 0000 0000 0001 00 0001 0001 00 0029 1000 00000000 00ff'),
    'malformed',
  ],
  [
    'two options',
    hex(
      '0001 0100 0001 0000 0000 0002 00 0001 0001 00 0029 1000 00000000 0000 00 0029 1000 00000000 0000',
    ),
    'malformed',
  ],
  [
    'a name of 256 bytes',
    Buffer.concat([hex(HEAD), Buffer.alloc(256, hex('01 61')), hex('00 0001 0001')]),
    'malformed',
  ],
]

for (const [name, bytes, expected] of odd)
  test(`${name}: ${expected}`, (t) => t.is(read(bytes) as string, expected))

test('the root and labels that are no text can be asked for', (t) => {
  t.is((read(hex(`${HEAD} 00 0002 0001`)) as Query).name, '.')
  t.is(typeof read(hex(`${HEAD} 04 ff00fe2e 00 0001 0001`)), 'object')
})

test('a question that cannot be read is answered with its ID and nothing else', (t) => {
  const result = readQuery(hex('abcd 0100 0002 0000 0000 0000'))
  if (result.kind !== 'malformed') return t.fail()
  t.is(result.answer.toString('hex'), 'abcd81810000000000000000')
})

const real = fc
  .record({
    name: fc.array(fc.stringMatching(/^[a-z0-9-]{1,20}$/), { minLength: 1, maxLength: 8 }),
    edns: fc.option(fc.integer({ min: 0, max: 65_535 }), { nil: undefined }),
    type: fc.constantFrom('A', 'AAAA', 'TXT', 'SRV' as const),
  })
  .map(({ name, edns, type }) =>
    question(name.join('.'), { type, ...(edns === undefined ? {} : { edns }) }),
  )

const mutated = fc
  .tuple(
    real,
    fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
    fc.nat(),
  )
  .map(([bytes, changes, cut]) => {
    const copy = Buffer.from(bytes)
    for (const [at, value] of changes) copy[at % copy.length] = value
    return copy.subarray(0, copy.length - (cut % 4))
  })

const packets = fc.oneof(
  fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes)),
  mutated,
  // Headers with any counts before anything.
  fc
    .tuple(fc.uint8Array({ minLength: 12, maxLength: 12 }), fc.uint8Array({ maxLength: 65_523 }))
    .map((parts) => Buffer.concat(parts)),
)

test('no bytes are too odd, and what is read lies within them', (t) => {
  fc.assert(
    fc.property(packets, (bytes) => {
      const before = Buffer.from(bytes)
      const result = readQuery(bytes)
      t.deepEqual(bytes, before)
      if (result.kind === 'query') t.true(result.query.questionEnd <= bytes.length)
      for (const { dataAt, dataBytes } of outline(bytes)?.records ?? []) {
        t.true(dataAt + dataBytes <= bytes.length)
      }
    }),
    { numRuns: 3_000 },
  )
  t.pass()
})

test('64 KiB of the smallest records cost little', (t) => {
  const record = Buffer.alloc(11)
  const bytes = Buffer.concat([
    hex('0001 0100 0001 0000 0000 173e 00 0001 0001'),
    Buffer.alloc(5950 * 11, record),
  ])
  t.is(outline(bytes)?.records.length, 5950)
  const before = process.cpuUsage()
  for (let n = 0; n < 100; n++) readQuery(bytes)
  const { user } = process.cpuUsage(before)
  t.true(user / 100 < 20_000, `${user / 100} us each`)
})

test('what the library writes is outlined as it was written', (t) => {
  const bytes = encode({
    type: 'response',
    questions: [{ name: 'a.example', type: 'A' }],
    answers: [{ name: 'a.example', type: 'A', ttl: 7, data: '10.0.0.1' }],
    authorities: [{ name: 'example', type: 'NS', ttl: 8, data: 'ns.example' }],
    additionals: [{ name: 'ns.example', type: 'AAAA', ttl: 9, data: 'fd00::1' }],
  })
  const parts = outline(bytes)
  t.deepEqual(
    parts?.records.map(({ section, type, typeAt }) => [
      section,
      type,
      bytes.readUInt32BE(typeAt + 4),
    ]),
    [
      ['answer', 1, 7],
      ['authority', 2, 8],
      ['additional', 28, 9],
    ],
  )
})
