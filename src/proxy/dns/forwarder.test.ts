import test from 'ava'
import { LIMITS } from '../../model/limits.ts'
import { until } from '../testing/conditions.ts'
import { address, answerOf, question, reading } from '../testing/dns.ts'
import { Asker, resolver, rig } from '../testing/dns-rig.ts'

test('where nobody listens the asker is told at once, and tries the next', async (t) => {
  const { open, resolvers, count } = rig(t)
  const gone = await resolver(t)
  gone.close()
  resolvers[0] = { ip: gone.ip, port: gone.port }
  const { port } = await open()
  const asker = new Asker(t)
  for (const at of [0, 1, 2]) {
    asker.send(port, question('x.example', { id: at }))
    t.is(reading(await asker.answer(at)).rcode, 2)
  }
  t.is(count('refused'), 3)
  t.is(count('in_flight'), 0)
})

test('silence stays silence, and is forgotten', async (t) => {
  const { open, resolvers, count, clock } = rig(t)
  const upstream = await resolver(t, () => undefined)
  resolvers[0] = upstream
  const { port } = await open()
  const asker = new Asker(t)
  asker.send(port, question('x.example'))
  await until('the question', () => upstream.asked.length === 1)
  t.is(count('in_flight'), 1)
  clock.advance(LIMITS.dnsSilenceMs + 1_000)
  t.is(count('silent'), 1)
  t.is(count('in_flight'), 0)
  const [late] = upstream.asked
  if (late === undefined) return t.fail()
  upstream.socket.send(answerOf(late.message, []), late.from.port)
  asker.send(port, question('web'))
  await asker.answer()
  t.is(asker.answers.length, 1)
  clock.advance(60_000)
  t.is(clock.pending, 0)
})

const STRAY: readonly (readonly [string, (asked: Buffer) => Buffer])[] = [
  ['under another ID', (asked) => withId(answerOf(asked, []), asked.readUInt16BE(0) ^ 1)],
  [
    'to another question',
    (asked) => withId(answerOf(question('y.example'), []), asked.readUInt16BE(0)),
  ],
  [
    'to another type',
    (asked) => withId(answerOf(question('x.example', { type: 'AAAA' }), []), asked.readUInt16BE(0)),
  ],
  ['that is a question', (asked) => asked],
  ['without a question', (asked) => withCounts(answerOf(asked, []), 0)],
  ['of two questions', (asked) => withCounts(answerOf(asked, []), 2)],
  ['of eleven bytes', (asked) => answerOf(asked, []).subarray(0, 11)],
]

function withId(message: Buffer, id: number): Buffer {
  message.writeUInt16BE(id, 0)
  return message
}

function withCounts(message: Buffer, questions: number): Buffer {
  message.writeUInt16BE(questions, 4)
  return message
}

for (const [name, stray] of STRAY) {
  test(`an answer ${name} is none`, async (t) => {
    const { open, resolvers, count } = rig(t)
    const upstream = await resolver(t, () => undefined)
    resolvers[0] = upstream
    const { port } = await open()
    const asker = new Asker(t)
    asker.send(port, question('x.example'))
    await until('the question', () => upstream.asked.length === 1)
    const [asked] = upstream.asked
    if (asked === undefined) return t.fail()
    upstream.socket.send(stray(asked.message), asked.from.port)
    await until('the stray', () => count('stray') === 1)
    t.is(asker.answers.length, 0)
    upstream.socket.send(
      answerOf(asked.message, [address('x.example', '192.0.2.9')]),
      asked.from.port,
    )
    t.deepEqual(reading(await asker.answer()).records, ['x.example 60 A 192.0.2.9'])
  })
}

test('an answer from another address is none', async (t) => {
  const { open, resolvers } = rig(t)
  const upstream = await resolver(t, () => undefined)
  const spoofer = await resolver(t, undefined, '127.0.0.2')
  resolvers[0] = upstream
  const { port } = await open()
  const asker = new Asker(t)
  asker.send(port, question('x.example'))
  await until('the question', () => upstream.asked.length === 1)
  const [asked] = upstream.asked
  if (asked === undefined) return t.fail()
  const forged = answerOf(asked.message, [address('x.example', '203.0.113.6')])
  await new Promise((resolve) => spoofer.socket.send(forged, asked.from.port, '127.0.0.1', resolve))
  upstream.socket.send(
    answerOf(asked.message, [address('x.example', '192.0.2.9')]),
    asked.from.port,
  )
  t.deepEqual(reading(await asker.answer()).records, ['x.example 60 A 192.0.2.9'])
  t.is(asker.answers.length, 1)
})

test('a failure without the question is passed on', async (t) => {
  const { open, resolvers } = rig(t)
  resolvers[0] = await resolver(t, (asked) => {
    const header = Buffer.alloc(12)
    asked.copy(header, 0, 0, 2)
    header.writeUInt16BE(0x8181, 2)
    return header
  })
  const { port } = await open()
  const asker = new Asker(t)
  asker.send(port, question('x.example', { id: 9 }))
  t.is((await asker.answer()).toString('hex'), '000981810000000000000000')
})

test('questions beyond the limit push out the oldest', async (t) => {
  const { open, resolvers, count } = rig(t)
  const upstream = await resolver(t, () => undefined)
  resolvers[0] = upstream
  const { port } = await open()
  const asker = new Asker(t)
  for (let at = 0; at < LIMITS.dnsInFlightMax + 10; at++) {
    asker.send(port, question(`x${at}.example`, { id: at }))
    if (at === 0) await until('the way', () => upstream.asked.length === 1)
    if (at % 32 === 31) await until('them to come', () => count('questions') === at + 1)
  }
  await until('the first to be dropped', () => count('dropped') === 10)
  t.is(count('in_flight'), LIMITS.dnsInFlightMax)
  await until('all', () => upstream.asked.length === LIMITS.dnsInFlightMax + 10)
  for (const { message, from } of upstream.asked.slice(-LIMITS.dnsInFlightMax)) {
    const before = count('in_flight')
    upstream.socket.send(answerOf(message, []), from.port)
    await until('its answer', () => count('in_flight') < before)
  }
  t.is(count('in_flight'), 0)
})

test('sockets to resolvers are few, take turns, and go when they are not needed', async (t) => {
  const { open, resolvers, clock } = rig(t)
  const upstream = await resolver(t, (asked) => answerOf(asked, []))
  resolvers[0] = upstream
  const { port } = await open()
  const asker = new Asker(t)
  for (let at = 0; at < 6; at++) {
    asker.send(port, question('x.example', { id: at }))
    await asker.answer(at)
    if (at % 2 === 1) clock.advance(LIMITS.dnsSocketAgeMs)
  }
  t.is(new Set(upstream.asked.map(({ from }) => from.port)).size, 3)
  clock.advance(10_000)
  t.is(clock.pending, 0)
})
