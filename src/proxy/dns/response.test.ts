import test from 'ava'
import { decode } from 'dns-packet'
import { seededRandom } from '../../base/random.ts'
import type { TableWorkload } from '../../model/tables.ts'
import { question, reading } from '../testing/dns.ts'
import { service, tablesOf, workload } from '../testing/world.ts'
import { answerTo } from './answer.ts'
import { type Query, readQuery } from './query.ts'
import { TCP_BYTES_MAX, udpBytes, writeAnswer } from './response.ts'

const CD = 'cluster.local'
const many = (count: number, more: Partial<TableWorkload> = {}) =>
  Array.from({ length: count }, (_, at) =>
    workload(`db-${at}`, `10.0.${at >> 8}.${at & 255}`, {
      addresses: [`10.0.${at >> 8}.${at & 255}`, `fd00::${at.toString(16)}`],
      ...more,
    }),
  )
const NONE: readonly TableWorkload[] = []

const web = service('web', '10.96.0.1', [[80, 80]], NONE, {
  vips: ['10.96.0.1', 'fd96::1', '10.96.0.9'],
})
const four = service('four', '10.96.0.4', [[80, 80]], NONE)
const mail = service('mail', '240.240.0.1', [[25, 25]], NONE, {
  key: 'default/mail.example.com',
  hostname: 'mail.example.com',
})
const ranges = service('ranges', '', [[25, 25]], NONE, {
  key: 'default/ranges.example.com',
  hostname: 'ranges.example.com',
  vips: ['10.1.0.0/16'],
})
const through = service('through', '', [], NONE, {
  key: 'default/through.example.com',
  hostname: 'through.example.com',
  vips: [],
  resolution: 'none',
})
const star = service('star', '', [[80, 80]], NONE, {
  key: 'default/*.star.example',
  hostname: '*.star.example',
  vips: [],
})

function tables(pods: readonly TableWorkload[], more = {}) {
  const db = service('db', '', [[5432, 5432]], pods, { vips: [], ...more })
  return tablesOf(1, { workloads: pods, services: [web, four, mail, ranges, through, star, db] })
}

const BOTH = { namespace: 'default', v4: true, v6: true }

function asked(bytes: Buffer): Query {
  const read = readQuery(bytes)
  if (read.kind !== 'query') throw new Error(read.kind)
  return read.query
}

interface Options {
  readonly type?: 'A' | 'AAAA' | 'TXT'
  readonly asker?: typeof BOTH
  readonly pods?: readonly TableWorkload[]
  readonly edns?: number
  readonly tcp?: boolean
  readonly more?: object
  readonly seed?: number
}

function tell(name: string, options: Options = {}): Buffer | undefined {
  const { type = 'A', asker = BOTH, pods = NONE, edns, tcp, more, seed = 1 } = options
  const query = asked(question(name, { type, id: 77, ...(edns === undefined ? {} : { edns }) }))
  const answer = answerTo(tables(pods, more), asker, query, seededRandom(seed))
  if (answer === undefined) return undefined
  return writeAnswer(query, answer, tcp ? TCP_BYTES_MAX : udpBytes(query))
}

const records = (name: string, options: Options = {}): readonly string[] | undefined => {
  const answer = tell(name, options)
  return answer && reading(answer).records
}

const V4_ONLY = { ...BOTH, v6: false }
const rows: readonly (readonly [string, Options, readonly string[] | undefined])[] = [
  ['web', {}, ['web 30 A 10.96.0.1', 'web 30 A 10.96.0.9']],
  ['web', { type: 'AAAA' }, ['web 30 AAAA fd96::1']],
  ['web', { type: 'TXT' }, []],
  ['web', { type: 'AAAA', asker: V4_ONLY }, []],
  ['web', { asker: { ...BOTH, v4: false } }, []],
  ['four', { type: 'AAAA' }, []],
  ['WeB.Default', {}, ['WeB.Default 30 A 10.96.0.1', 'WeB.Default 30 A 10.96.0.9']],
  [
    `mail.example.com.default.svc.${CD}`,
    {},
    [
      `mail.example.com.default.svc.${CD} 30 CNAME mail.example.com`,
      'mail.example.com 30 A 240.240.0.1',
    ],
  ],
  [
    `mail.example.com.default.svc.${CD}`,
    { type: 'AAAA' },
    [`mail.example.com.default.svc.${CD} 30 CNAME mail.example.com`],
  ],
  ['ranges.example.com', {}, undefined],
  ['through.example.com', {}, undefined],
  ['a.star.example', {}, undefined],
  ['nobody.example.com', {}, undefined],
  ['db', {}, []],
  ['db', { pods: many(1) }, ['db 30 A 10.0.0.0']],
  ['db', { pods: many(1), type: 'AAAA' }, ['db 30 AAAA fd00::']],
  ['db', { pods: many(1, { status: 'unhealthy' }) }, []],
  [
    'db',
    { pods: many(1, { status: 'unhealthy' }), more: { allowUnhealthy: true } },
    ['db 30 A 10.0.0.0'],
  ],
  ['db', { pods: many(1, { network: 'elsewhere' }) }, []],
  [`db-1.db.default.svc.${CD}`, { pods: many(3) }, [`db-1.db.default.svc.${CD} 30 A 10.0.0.1`]],
  [`db-1.db.default.svc.${CD}`, { pods: many(3, { status: 'unhealthy' }) }, []],
]

for (const [at, [name, options, expected]] of rows.entries()) {
  test(`${at}: ${options.type ?? 'A'} of ${name}: ${expected?.join(', ') ?? 'not ours'}`, (t) => {
    t.deepEqual(records(name, options), expected)
  })
}

test('an answer is authoritative, under the question’s ID, and repeats the question', (t) => {
  const answer = tell('WEB')
  if (answer === undefined) return t.fail()
  const { id, authoritative, rcode, truncated } = reading(answer)
  t.deepEqual(
    { id, authoritative, rcode, truncated },
    { id: 77, authoritative: true, rcode: 0, truncated: false },
  )
  t.deepEqual(decode(answer).questions, [{ name: 'WEB', type: 'A', class: 'IN' }])
  t.true(decode(answer).flag_rd)
})

test('29 addresses of a name of usual length fit 512 bytes; more are for TCP', (t) => {
  const name = `db.default.svc.${CD}`
  const fits = tell(name, { pods: many(29) })
  t.true((fits?.length ?? 513) <= 512)
  t.is(records(name, { pods: many(29) })?.length, 29)
  const cut = reading(tell(name, { pods: many(30) }) ?? Buffer.alloc(0))
  t.true(cut.truncated)
  t.deepEqual(cut.records, [])
  t.is(records(name, { pods: many(30), tcp: true })?.length, 30)
  t.is(records(name, { pods: many(30), edns: 1232 })?.length, 30)
  t.true(reading(tell(name, { pods: many(90), edns: 1232 }) ?? Buffer.alloc(0)).truncated)
  t.true(reading(tell(name, { pods: many(30), edns: 100 }) ?? Buffer.alloc(0)).truncated)
  t.is(records(name, { pods: many(2000), tcp: true })?.length, 1000)
})

test('the endpoints of a headless service come in any order', (t) => {
  const orders = new Set(
    Array.from({ length: 50 }, (_, seed) =>
      records('db', { pods: many(3), seed: seed + 1 })?.join(),
    ),
  )
  t.is(orders.size, 6)
  for (const order of orders)
    t.is(order?.split(',').sort().join(), 'db 30 A 10.0.0.0,db 30 A 10.0.0.1,db 30 A 10.0.0.2')
})

test('who speaks EDNS is answered so, who does not is not', (t) => {
  const option = (answer: Buffer | undefined) =>
    answer && (decode(answer).additionals ?? []).map(({ type }) => type)
  t.deepEqual(option(tell('web', { edns: 1232 })), ['OPT'])
  t.deepEqual(option(tell('web')), [])
})

test('another version of EDNS is refused', (t) => {
  const bytes = question('web', { edns: 1232 })
  bytes[bytes.length - 5] = 1
  const query = asked(bytes)
  const answer = writeAnswer(query, { addresses: ['10.0.0.1'], lasting: true }, 512)
  const read = decode(answer)
  t.deepEqual(read.answers, [])
  const [option] = (read.additionals ?? []) as unknown as { readonly extendedRcode: number }[]
  t.is(option?.extendedRcode, 1)
  t.is(answer.readUInt16BE(2) & 15, 0)
})

test('other classes, and what is no query, are for the resolver', (t) => {
  const chaos = question('web')
  chaos.writeUInt16BE(3, chaos.length - 2)
  t.is(answerTo(tables(NONE), BOTH, asked(chaos), seededRandom(1)), undefined)
  const update = question('web', { flags: 5 << 11 })
  t.is(answerTo(tables(NONE), BOTH, asked(update), seededRandom(1)), undefined)
})
