import test from 'ava'
import fc from 'fast-check'
import { manualClock } from '../../base/clock.ts'
import { seededRandom } from '../../base/random.ts'
import { err, ok } from '../../base/result.ts'
import type { Ending } from '../../model/facts.ts'
import { LIMITS } from '../../model/limits.ts'
import { localPod } from '../../model/testing/local-pod.ts'
import { DnsMeter } from '../../telemetry/dns-cells.ts'
import { proxyBoard } from '../../telemetry/proxy-cells.ts'
import type { Relayed } from '../stream/relay.ts'
import { TablesView } from '../tables-view.ts'
import { Client } from '../testing/client.ts'
import { until } from '../testing/conditions.ts'
import { address, answerOf, question, reading } from '../testing/dns.ts'
import { ScriptedStream } from '../testing/scripted-stream.ts'
import { app, service, startNode, tablesOf, workload } from '../testing/world.ts'
import { decide } from './decide.ts'
import { FrameReader, frame } from './frames.ts'
import { TCP_BYTES_MAX } from './response.ts'
import { serveNames } from './tcp-session.ts'

const QUEUE_MAX = 4_096

function session(connect?: () => Promise<ScriptedStream>) {
  const clock = manualClock(0)
  const board = proxyBoard(1)
  const meter = new DnsMeter(board, 0)
  const view = new TablesView(clock)
  const caller = workload('caller', '127.0.0.1')
  view.set(tablesOf(1, { workloads: [caller], services: [service('web', '10.96.0.1', [], [])] }))
  const pod = localPod({ uid: caller.uid, addresses: ['127.0.0.1'] })
  const client = new ScriptedStream(QUEUE_MAX)
  const upstream = new ScriptedStream(QUEUE_MAX)
  const stop = new AbortController()
  const seen: Relayed = { moved: undefined }
  const random = seededRandom(1)
  let dials = 0
  let ending: Ending | undefined
  let failure: unknown
  serveNames(client, {
    clock,
    meter,
    seen,
    signal: stop.signal,
    decide: (asked) => decide(asked, () => TCP_BYTES_MAX, pod, { view, random, meter }),
    connect: async () => {
      dials++
      return ok(connect === undefined ? upstream : await connect())
    },
  }).then(
    (value) => {
      ending = value
    },
    (error) => {
      failure = error
    },
  )
  return {
    clock,
    client,
    upstream,
    stop,
    seen,
    count: (name: string) => board.total(`dns.${name}`),
    dials: () => dials,
    ending: () => ending,
    failure: () => failure,
  }
}

/** Whole messages that a peer has read. */
function messages(stream: ScriptedStream): readonly Buffer[] {
  while (stream.queue.length > 0) stream.peerReads()
  const reader = new FrameReader()
  return stream.read.flatMap((chunk) => reader.read(chunk))
}

const sends = (name: string, id: number): Buffer => frame(question(name, { id }))

test('the mesh answers for its names, and nobody is called', async (t) => {
  const { client, dials, ending } = session()
  client.peerSends(Buffer.concat([sends('web', 1), sends('web.default', 2)]))
  t.deepEqual(
    messages(client).map((each) => reading(each).id),
    [1, 2],
  )
  client.peerEnds()
  client.peerReads()
  await until('the end', () => ending() !== undefined)
  t.is(ending()?.reason, 'completed')
  t.true((ending()?.sentBytes ?? 0) > 0 && (ending()?.receivedBytes ?? 0) > 0)
  t.is(dials(), 0)
})

test('the rest goes to the resolver over one connection, and answers come in any order', async (t) => {
  const { client, upstream, dials, ending, count } = session()
  client.peerSends(Buffer.concat([sends('a.example', 1), sends('web', 2), sends('b.example', 3)]))
  await until('the questions', () => upstream.queue.length === 2)
  const asked = messages(upstream)
  t.deepEqual(
    asked.map((each) => reading(each).id),
    [1, 3],
  )
  for (const each of [...asked].reverse()) {
    upstream.peerSends(frame(answerOf(each, [address('x', '192.0.2.1')])))
  }
  t.deepEqual(
    messages(client).map((each) => reading(each).id),
    [2, 3, 1],
  )
  t.is(dials(), 1)
  t.is(count('relayed'), 2)
  client.peerEnds()
  while (!upstream.sawEnd) upstream.peerReads()
  upstream.peerEnds()
  client.peerReads()
  await until('the end', () => ending() !== undefined)
  t.is(ending()?.reason, 'completed')
})

test('one client does not keep the others waiting, and whoever does not read is not answered', async (t) => {
  const { client, count } = session()
  const asked = 1_000
  client.peerSends(Buffer.concat(Array.from({ length: asked }, (_, at) => sends('web', at))))
  t.is(count('questions'), 16, 'in one turn')
  await until('the queue to be full', () => client.queuedBytes >= QUEUE_MAX)
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
  t.true(count('questions') < QUEUE_MAX / 16, `${count('questions')}`)
  t.true(client.paused)
  await until('the rest', () => {
    while (client.queue.length > 0) client.peerReads()
    return count('answered') === asked
  })
  t.deepEqual(
    messages(client).map((each) => reading(each).id),
    Array.from({ length: asked }, (_, at) => at),
  )
})

test('a client that has said all still gets its answers', async (t) => {
  const { client, upstream, ending } = session()
  client.peerSends(sends('a.example', 1))
  client.peerEnds()
  await until('the question', () => upstream.queue.length === 1)
  const [asked] = messages(upstream)
  upstream.peerReads()
  t.true(upstream.sawEnd)
  upstream.peerSends(frame(answerOf(asked ?? Buffer.alloc(0), [])))
  upstream.peerEnds()
  t.is(messages(client).length, 1)
  client.peerReads()
  await until('the end', () => ending() !== undefined)
  t.is(ending()?.reason, 'completed')
})

test('what cannot be read is said to be so, and what is no question ignored', (t) => {
  const { client, dials, count } = session()
  client.peerSends(frame(Buffer.from('00010100000200000000000000', 'hex')))
  client.peerSends(frame(Buffer.alloc(5)))
  client.peerSends(frame(Buffer.alloc(0)))
  t.deepEqual(
    messages(client).map((each) => reading(each).rcode),
    [1],
  )
  t.is(dials(), 0)
  t.is(count('malformed'), 3)
})

test('a resolver that cannot be reached ends the connection with its reason', async (t) => {
  const client = new ScriptedStream(QUEUE_MAX)
  const clock = manualClock(0)
  const ended = serveNames(client, {
    clock,
    meter: new DnsMeter(proxyBoard(1), 0),
    seen: { moved: undefined },
    signal: new AbortController().signal,
    decide: () => ({ kind: 'forward', query: {} as never }),
    connect: async () => err({ reason: 'connect-failed', detail: 'ECONNREFUSED' }),
  })
  client.peerSends(sends('a.example', 1))
  const { reason, detail } = await ended
  t.deepEqual([reason, detail], ['connect-failed', 'ECONNREFUSED'])
  t.true(client.aborted)
  t.is(clock.pending, 0)
})

for (const who of ['client', 'upstream'] as const) {
  test(`a reset of the ${who} ends both`, async (t) => {
    const { client, upstream, ending, clock, ...parts } = session()
    client.peerSends(sends('a.example', 1))
    await until('the question', () => upstream.queue.length === 1)
    const broken = who === 'client' ? client : upstream
    broken.peerBreaks()
    await until('the end', () => ending() !== undefined)
    t.is(ending()?.reason, who === 'client' ? 'downstream-reset' : 'upstream-reset')
    t.true(client.over && upstream.over)
    t.is(clock.pending, 0)
    t.truthy(parts.seen.moved)
  })
}

test('a client that goes while the resolver is called leaves nothing', async (t) => {
  let arrive: ((stream: ScriptedStream) => void) | undefined
  const { client, ending } = session(
    () =>
      new Promise((resolve) => {
        arrive = resolve
      }),
  )
  client.peerSends(sends('a.example', 1))
  await until('the call', () => arrive !== undefined)
  client.peerBreaks()
  t.is(ending(), undefined)
  const late = new ScriptedStream(QUEUE_MAX)
  arrive?.(late)
  await until('the end', () => ending() !== undefined)
  t.true(late.aborted)
})

test('a defect while calling is told, not swallowed', async (t) => {
  const { client, failure, clock } = session(() => Promise.reject(new Error('a defect')))
  client.peerSends(sends('a.example', 1))
  await until('the failure', () => failure() !== undefined)
  t.is(clock.pending, 0)
})

test('an idle connection is ended, and broken if the client does not follow', async (t) => {
  const { client, clock, ending } = session()
  client.peerSends(sends('web', 1))
  messages(client)
  clock.advance(LIMITS.dnsTcpIdleMs - 1)
  client.peerSends(sends('web', 2))
  // Bytes that are no message do not keep it alive.
  clock.advance(LIMITS.dnsTcpIdleMs - 1)
  client.peerSends(Buffer.from([0]))
  clock.advance(1)
  messages(client)
  client.peerReads()
  t.true(client.sawEnd)
  client.peerSends(Buffer.concat([Buffer.from([5, 1, 2, 3, 4, 5]), sends('web', 3)]))
  t.is(client.queue.length, 0)
  t.is(ending(), undefined)
  clock.advance(LIMITS.dnsTcpIdleMs)
  await until('the end', () => ending() !== undefined)
  t.is(ending()?.reason, 'idle-timeout')
  t.is(clock.pending, 0)
})

test('a stop ends both with its reason', async (t) => {
  const { client, upstream, stop, ending } = session()
  client.peerSends(sends('a.example', 1))
  await until('the question', () => upstream.queue.length === 1)
  stop.abort({ reason: 'workload-removed' })
  await until('the end', () => ending() !== undefined)
  t.is(ending()?.reason, 'workload-removed')
  t.true(client.aborted && upstream.aborted)
})

test('who does not read is not read from', async (t) => {
  const { client, upstream } = session()
  for (let id = 0; !client.paused; id++) client.peerSends(sends('web', id))
  t.true(client.queuedBytesPeak < QUEUE_MAX + 200)
  messages(client)
  t.false(client.paused)
  for (let id = 0; id < LIMITS.dnsTcpPendingMax; id++) client.peerSends(sends('a.example', id))
  t.true(client.paused)
  await until('the questions', () => upstream.queue.length === LIMITS.dnsTcpPendingMax)
  const [first] = messages(upstream)
  upstream.peerSends(frame(answerOf(first ?? Buffer.alloc(0), [])))
  messages(client)
  t.false(client.paused)
})

test('in a mesh: names from the tables, the rest from whoever is behind the address asked', async (t) => {
  const caller = workload('caller', '127.53.0.1')
  const dns = workload('dns', '127.53.0.2', { tunnel: 'none' })
  const resolver = service('dns', '10.53.0.53', [[53, 5353]], [dns])
  const bound = { ...dns, services: { [resolver.key]: [{ servicePort: 53, targetPort: 5353 }] } }
  const web = service('web', '10.53.0.1', [[80, 80]], [])
  const workloads = [caller, bound]
  const node = await startNode(tablesOf(1, { workloads, services: [resolver, web] }), workloads)
  const server = await app('127.53.0.2', 5353, (socket) => {
    const reader = new FrameReader()
    socket.on('data', (chunk) => {
      for (const asked of reader.read(Buffer.from(chunk))) {
        socket.write(frame(answerOf(asked, [address('x.example', '192.0.2.1')])))
      }
    })
    socket.on('end', () => socket.end())
  })
  t.teardown(async () => {
    await node.close()
    await server.close()
  })
  const client = new Client('127.53.0.1', await node.capture(caller, '10.53.0.53', 53))
  const got = await client.ask(Buffer.concat([sends('web', 1), sends('x.example', 2)]))
  t.deepEqual(
    new FrameReader().read(got).flatMap((each) => reading(each).records),
    ['web 30 A 10.53.0.1', 'x.example 60 A 192.0.2.1'],
  )
  const entry = await node.entry(0)
  t.is(entry.reason, 'completed')
  t.is(entry.path, 'plaintext')
  t.is(entry.destination.service, resolver.hostname)
})

test('no bytes break it', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 400 }), { maxLength: 10 }),
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 400 }), { maxLength: 10 }),
      async (fromClient, fromUpstream) => {
        const { client, upstream, ending, failure, dials } = session()
        for (const bytes of fromClient) if (!client.paused) client.peerSends(Buffer.from(bytes))
        await new Promise((resolve) => setImmediate(resolve))
        for (const bytes of fromUpstream) {
          if (dials() > 0 && !upstream.paused) upstream.peerSends(Buffer.from(bytes))
        }
        client.peerBreaks()
        await until('the end', () => ending() !== undefined || failure() !== undefined)
        t.is(failure(), undefined)
      },
    ),
    { numRuns: 200 },
  )
  t.pass()
})
