import test from 'ava'
import fc from 'fast-check'
import { localPod } from '../../model/testing/local-pod.ts'
import { until } from '../testing/conditions.ts'
import { address, answerOf, question, reading } from '../testing/dns.ts'
import {
  Asker,
  caller,
  mesh,
  other,
  podOf,
  resolver,
  rig,
  WORKLOAD,
  web,
} from '../testing/dns-rig.ts'
import { service, tablesOf, workload } from '../testing/world.ts'
import { isOwn } from './udp-door.ts'

test('a name of the mesh is answered without anybody else', async (t) => {
  const { open, count } = rig(t)
  const { port } = await open()
  const asker = new Asker(t)
  asker.send(port, question('web', { id: 5 }))
  asker.send(port, question('web', { id: 6 }))
  t.deepEqual(reading(await asker.answer(0)).records, ['web 30 A 10.96.0.1'])
  t.deepEqual(reading(await asker.answer(1)).records, ['web 30 A 10.96.0.1'])
  t.deepEqual(asker.answers.map((each) => reading(each).id).sort(), [5, 6])
  t.is(count('answered'), 2)
})

test('over IPv6 as well', async (t) => {
  const { open } = rig(t)
  const { port } = await open(1, undefined, true)
  const asker = new Asker(t, 'udp6')
  asker.send(port, question('web'), '::1')
  t.deepEqual(reading(await asker.answer()).records, ['web 30 A 10.96.0.1'])
})

test('new tables are told at once', async (t) => {
  const { open, view } = rig(t)
  const { port } = await open()
  const asker = new Asker(t)
  asker.send(port, question('web'))
  await asker.answer(0)
  view.set(tablesOf(2, { ...mesh, services: [{ ...web, vips: ['10.96.0.2'] }] }))
  asker.send(port, question('web'))
  t.deepEqual(reading(await asker.answer(1)).records, ['web 30 A 10.96.0.2'])
})

test('a resolver of this node is only asked for those whom its policies let', async (t) => {
  const { open, resolvers, view, count } = rig(t)
  const { port } = await open()
  const ip = '192.0.2.53'
  resolvers[0] = { ip, port: 53 }
  const policy = {
    key: 'default/shy',
    name: 'shy',
    namespace: 'default',
    action: 'deny',
    rules: [{ clauses: [] }],
    dryRun: false,
    origin: 'authored',
  } as const
  const shy = workload('shy', ip, { node: caller.node, policies: ['default/shy'] })
  const judged = (version: number, of: typeof shy) =>
    view.set(tablesOf(version, { ...mesh, workloads: [caller, of], policies: [policy] }))
  const asker = new Asker(t)
  judged(2, shy)
  asker.send(port, question('x.example', { id: 1 }))
  t.is(reading(await asker.answer(0)).rcode, 2)
  t.is(count('forwarded'), 0)
  judged(3, { ...shy, policies: [] })
  asker.send(port, question('x.example', { id: 2 }))
  await until('the question', () => count('forwarded') === 1)
})

test('another name goes to the resolver that was asked, whole, under another ID, and back', async (t) => {
  const { open, resolvers, count } = rig(t)
  const { port } = await open(2)
  const upstream = await resolver(t)
  resolvers[2] = upstream
  const asker = new Asker(t)
  const asked = question('x.example', { id: 0x1234, edns: 1400 })
  asker.send(port, asked)
  const answer = await asker.answer()
  t.is(reading(answer).id, 0x1234)
  t.deepEqual(reading(answer).records, ['x.example 60 A 192.0.2.1'])
  const [got] = upstream.asked
  t.deepEqual(got?.message.subarray(2), asked.subarray(2))
  t.not(got?.message.readUInt16BE(0), 0x1234)
  t.is(count('forwarded'), 1)
  t.is(count('in_flight'), 0)
})

test('what a resolver said is said again while it holds', async (t) => {
  const { open, resolvers, count, clock } = rig(t)
  const { port } = await open()
  const upstream = await resolver(t, (asked) =>
    answerOf(asked, [address('x.example', '192.0.2.1', 10)]),
  )
  resolvers[0] = upstream
  const asker = new Asker(t)
  const lives = async (at: number) => {
    asker.send(port, question('x.example', { id: at }))
    return reading(await asker.answer(at)).records[0]?.split(' ')[1]
  }
  t.is(await lives(0), '10')
  clock.advance(4_000)
  t.is(await lives(1), '6')
  clock.advance(6_000)
  t.is(await lives(2), '10')
  t.is(upstream.asked.length, 2)
  t.is(count('cached'), 1)
})

test('a cached answer is for the same workload, resolver and question only', async (t) => {
  const { open, resolvers, count } = rig(t)
  const [a, b] = [await resolver(t), await resolver(t)]
  resolvers[0] = a
  resolvers[1] = b
  const asker = new Asker(t)
  const first = await open(0)
  const second = await open(1)
  const theirs = await open(0, podOf('other'))
  const asked = [
    [first, question('x.example')],
    [first, question('x.example', { type: 'AAAA' })],
    [first, question('x.example', { edns: 1232 })],
    [first, question('x.example', { flags: 0x110 })],
    [second, question('x.example')],
    [theirs, question('x.example')],
  ] as const
  for (const [at, [{ port }, message]] of asked.entries()) {
    asker.send(port, message)
    await asker.answer(at)
  }
  t.is(a.asked.length + b.asked.length, asked.length)
  t.is(count('cached'), 0)
})

test('a question with an option for the asker alone is asked each time', async (t) => {
  const { open, resolvers } = rig(t)
  const { port } = await open()
  const upstream = await resolver(t)
  resolvers[0] = upstream
  const base = question('x.example', { edns: 1232 })
  const cookie = Buffer.concat([base, Buffer.from('000a0008aaaaaaaaaaaaaaaa', 'hex')])
  cookie.writeUInt16BE(12, base.length - 2)
  const asker = new Asker(t)
  for (const at of [0, 1]) {
    asker.send(port, cookie)
    await asker.answer(at)
  }
  t.is(upstream.asked.length, 2)
})

test('a question that nobody can place is not answered', async (t) => {
  const { open, resolvers, count } = rig(t)
  const { port } = await open()
  const asker = new Asker(t)
  asker.send(port, question('x.example'))
  await until('the count', () => count('unclaimed') === 1)
  resolvers[0] = { ip: '127.0.0.1', port: 9, workload: WORKLOAD + 1 }
  asker.send(port, question('x.example'))
  await until('the count', () => count('unclaimed') === 2)
  t.is(asker.answers.length, 0)
})

test('an unknown workload is not answered, not even by others', async (t) => {
  const { open, resolvers, count } = rig(t, tablesOf(1, { ...mesh, workloads: [other] }))
  const upstream = await resolver(t)
  resolvers[0] = upstream
  const { port } = await open()
  new Asker(t).send(port, question('web'))
  await until('the count', () => count('unready') === 1)
  t.is(upstream.asked.length, 0)
})

for (const [source, expected] of [
  ['127.0.0.1', true],
  ['127.8.8.8', true],
  ['::1', true],
  ['10.0.0.1', true],
  ['fd00::1', true],
  ['10.0.0.2', false],
  ['fd00::2', false],
] as const) {
  test(`a datagram from ${source} is ${expected ? 'the workload’s own' : 'nobody’s'}`, (t) => {
    t.is(isOwn(localPod({ uid: 'x', addresses: ['10.0.0.1', 'fd00::1'] }), source), expected)
  })
}

test('a resolver that is a virtual address of a service is one of its endpoints', async (t) => {
  const upstream = await resolver(t, undefined, '127.0.0.3')
  const pod = workload('dns', '127.0.0.3')
  const dns = service('dns', '10.96.0.53', [[53, upstream.port]], [pod])
  const bound = {
    ...pod,
    services: { [dns.key]: [{ servicePort: 53, targetPort: upstream.port }] },
  }
  const empty = service('empty', '10.96.0.54', [[53, 53]], [])
  const tables = tablesOf(1, { workloads: [caller, bound], services: [dns, empty] })
  const { open, resolvers } = rig(t, tables)
  resolvers[0] = { ip: '10.96.0.53', port: 53 }
  resolvers[1] = { ip: '10.96.0.54', port: 53 }
  const asker = new Asker(t)
  asker.send((await open(0)).port, question('x.example'))
  t.deepEqual(reading(await asker.answer(0)).records, ['x.example 60 A 192.0.2.1'])
  asker.send((await open(1)).port, question('x.example'))
  t.is(reading(await asker.answer(1)).rcode, 2)
})

test('who leaves is forgotten with everything under way', async (t) => {
  const { open, resolvers, count, clock } = rig(t)
  const upstream = await resolver(t, () => undefined)
  resolvers[0] = upstream
  const [a, b] = [await open(0), await open(1)]
  const asker = new Asker(t)
  asker.send(a.port, question('x.example'))
  await until('the question', () => upstream.asked.length === 1)
  a.stop()
  t.is(count('in_flight'), 1)
  b.stop()
  t.is(count('in_flight'), 0)
  t.is(clock.pending, 0)
  const [asked] = upstream.asked
  if (asked === undefined) return t.fail()
  upstream.socket.send(answerOf(asked.message, []), asked.from.port)
  await new Promise((resolve) => setImmediate(resolve))
  t.is(asker.answers.length, 0)
})

test('no datagram ends the serving', async (t) => {
  const { open, resolvers, count } = rig(t)
  resolvers[0] = await resolver(t, (asked) => asked)
  const { port } = await open()
  const asker = new Asker(t)
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 700 }),
    fc.uint8Array({ minLength: 1400, maxLength: 65_507 }),
  )
  let sent = 0
  for (const each of fc.sample(bytes, 400)) {
    asker.send(port, Buffer.from(each))
    sent++
    if (sent % 8 === 0) await until('them to come', () => count('questions') === sent)
  }
  const before = asker.answers.length
  asker.send(port, question('web', { id: 1 }))
  await until(
    'an answer',
    () =>
      asker.answers.length > before && reading(asker.answers.at(-1) as Buffer).records.length === 1,
  )
  t.pass()
})
