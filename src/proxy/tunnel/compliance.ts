// What every implementation of tunnels must do; run by each one's test file. Bodies are compared
// byte for byte, because a mistake with buffers corrupts them silently.
import { connect as connectPlain } from 'node:net'
import type { ExecutionContext, TestFn } from 'ava'
import type { Clock } from '../../base/clock.ts'
import { systemClock } from '../../base/clock.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { LIMITS } from '../../model/limits.ts'
import { Collector, pattern } from '../testing/collector.ts'
import { until } from '../testing/conditions.ts'
import { held, identityStore } from '../testing/identities.ts'
import {
  type Bench,
  CLIENT_ID,
  dialTunnel,
  type MakeTransport,
  POD,
  SERVER_ID,
  serveTunnels,
  type TunnelServer,
} from '../testing/tunnel-pair.ts'
import type { TunnelSession } from './port.ts'

const AUTHORITY = '127.0.0.1:80'
const NEVER: AbortSignal = new AbortController().signal

interface Pair {
  readonly client: Collector
  readonly server: Collector
}

interface Up {
  readonly bench: Bench
  readonly served: TunnelServer
  readonly session: TunnelSession
  pair(): Promise<Pair>
}

/** Registers the suite; `name` tells the implementations apart. */
export function tunnelCompliance(
  test: TestFn,
  name: string,
  kernel: () => Kernel,
  make: MakeTransport,
): void {
  const at = (title: string, body: (t: ExecutionContext, up: Up) => Promise<void>): void => {
    test(`${name}: ${title}`, async (t) => {
      const bench = await benchOf(kernel(), make, systemClock)
      const served = await serveTunnels(bench)
      t.teardown(() => served.close())
      const session = await dialTunnel(bench, served.peer)
      t.teardown(() => session.destroy())
      await body(t, { bench, served, session, pair: () => openPair(served, session) })
    })
  }
  streams(at)
  resets(at)
  sessions(at)
  refusals(at)
  strangers(at)
}

type At = (title: string, body: (t: ExecutionContext, up: Up) => Promise<void>) => void

function streams(at: At): void {
  at('carries the request to the server and its answer back', async (t, { served, session }) => {
    const opening = session.open(AUTHORITY, { baggage: 'k=v', forwarded: 'for="x"' }, NEVER)
    const request = await served.next()
    t.is(request.method, 'CONNECT')
    t.is(request.authority, AUTHORITY)
    t.is(request.headers.baggage, 'k=v')
    t.is(request.headers.forwarded, 'for="x"')
    t.deepEqual(served.sessions[0]?.peer, { kind: 'verified', id: CLIENT_ID, by: 'mtls' } as never)
    request.accept({ baggage: 'back=1' })
    const opened = await opening
    t.true(opened.ok)
    if (opened.ok) t.is(opened.value.headers.baggage, 'back=1')
  })

  at('half-closes both ways and ends cleanly', async (t, { pair }) => {
    const { client, server } = await pair()
    client.stream.write(Buffer.from('question'))
    client.stream.end()
    t.is((await server.whole()).toString(), 'question')
    t.true(server.ended)
    t.is(client.outcome, undefined)
    server.stream.write(Buffer.from('answer'))
    server.stream.end()
    t.is((await client.whole()).toString(), 'answer')
    t.deepEqual(await client.over(), { kind: 'finished' })
    t.deepEqual(await server.over(), { kind: 'finished' })
  })

  at('lets the server speak and finish first', async (t, { pair }) => {
    const { client, server } = await pair()
    server.stream.write(Buffer.from('220 ready'))
    server.stream.end()
    t.is((await client.whole()).toString(), '220 ready')
    client.stream.write(Buffer.from('bye'))
    client.stream.end()
    t.is((await server.whole()).toString(), 'bye')
    t.is((await server.over()).kind, 'finished')
    t.is((await client.over()).kind, 'finished')
  })

  for (const length of [0, 1, 16_383, 16_384, 65_535, 65_537, 1_048_577, 5_000_003]) {
    at(`carries ${length} bytes both ways unchanged`, async (t, { pair }) => {
      const { client, server } = await pair()
      const there = pattern(length, 1)
      const back = pattern(length, 2)
      await Promise.all([
        client.send(there, 10_007).then(() => client.stream.end()),
        server.send(back, 70_001).then(() => server.stream.end()),
      ])
      t.true(there.equals(await server.whole()))
      t.true(back.equals(await client.whole()))
      t.is((await client.over()).kind, 'finished')
    })
  }

  at('holds a writer back while the reader does not read', async (t, { pair }) => {
    const { client, server } = await pair()
    server.stream.pause()
    const chunk = pattern(65_536)
    let written = 0
    while (client.stream.write(Buffer.from(chunk)) || client.drains === 0) {
      written += chunk.length
      if (written > 64 * LIMITS.streamWindowBytes) return t.fail('no pressure')
      await new Promise((resolve) => setImmediate(resolve))
      if (client.stream.queuedBytes >= LIMITS.relayQueueBytesMax) break
    }
    t.true(client.stream.queuedBytes <= LIMITS.relayQueueBytesMax + chunk.length)
    written += chunk.length
    server.stream.resume()
    client.stream.end()
    await server.whole()
    t.is(server.bytes, written)
  })

  at('keeps other streams moving beside slow readers', async (t, { pair }) => {
    const slow = await Promise.all(Array.from({ length: 8 }, () => pair()))
    for (const { client, server } of slow) {
      server.stream.pause()
      while (client.stream.write(pattern(65_536))) {
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    const { client, server } = await pair()
    const body = pattern(300_000)
    void client.send(body).then(() => client.stream.end())
    t.true(body.equals(await server.whole()))
  })

  at('opens many streams at once', async (t, { session, pair }) => {
    const pairs = await Promise.all(Array.from({ length: 90 }, () => pair()))
    t.is(session.openStreams, 90)
    await Promise.all(
      pairs.map(async ({ client, server }, index) => {
        client.stream.write(Buffer.from(`stream ${index}`))
        client.stream.end()
        server.stream.end()
        t.is((await server.whole()).toString(), `stream ${index}`)
        t.is((await client.over()).kind, 'finished')
      }),
    )
    await until('streams to be counted down', () => session.openStreams === 0)
  })

  at('survives thousands of finished connections in one session', async (t, { session, pair }) => {
    for (let round = 0; round < 40; round++) {
      await Promise.all(
        Array.from({ length: 50 }, async () => {
          const { client, server } = await pair()
          client.stream.end()
          server.stream.end()
          t.is((await client.over()).kind, 'finished')
        }),
      )
    }
    t.false(session.closing)
  })
}

function resets(at: At): void {
  at('tells the server of a reset by the client', async (t, { pair }) => {
    const { client, server } = await pair()
    client.stream.write(Buffer.from('partial'))
    await until('the bytes', () => server.bytes === 7)
    client.stream.abort()
    t.is((await server.over()).kind, 'reset')
    t.false(server.ended)
    t.is((await client.over()).kind, 'aborted')
  })

  at('tells the client of a reset by the server', async (t, { pair, session }) => {
    const { client, server } = await pair()
    server.stream.abort()
    t.is((await client.over()).kind, 'reset')
    t.false(client.ended)
    t.false(session.closing)
  })

  at('takes the loss of the connection for a reset, not an end', async (t, { pair, served }) => {
    const { client, server } = await pair()
    server.stream.write(Buffer.from('half of an answ'))
    await until('the bytes', () => client.bytes === 15)
    served.sessions[0]?.destroy()
    t.is((await client.over()).kind, 'reset')
    t.false(client.ended)
    t.not((await server.over()).kind, 'finished')
  })

  at('breaks streams when the client destroys the session', async (t, { pair, session }) => {
    const { client, server } = await pair()
    session.destroy()
    t.is((await server.over()).kind, 'reset')
    t.false(server.ended)
    t.not((await client.over()).kind, 'finished')
  })

  at('gives up an unanswered request by its signal', async (t, { session, served }) => {
    const giveUp = new AbortController()
    const opening = session.open(AUTHORITY, {}, giveUp.signal)
    const request = await served.next()
    let gone = false
    request.onGone(() => {
      gone = true
    })
    giveUp.abort({ reason: 'workload-removed' })
    const opened = await opening
    t.false(opened.ok)
    if (!opened.ok) t.is(opened.error.reason, 'workload-removed')
    await until('the server to learn it', () => gone)
    t.false(session.closing)
  })
}

function sessions(at: At): void {
  at('finishes open streams after the server says GOAWAY', async (t, { pair, served, session }) => {
    const { client, server } = await pair()
    let closed = false
    session.onClosed(() => {
      closed = true
    })
    served.sessions[0]?.retire()
    await until('the client to know', () => session.closing)
    const late = await session.open(AUTHORITY, {}, NEVER)
    t.false(late.ok)
    if (!late.ok) t.true(late.error.unprocessed, late.error.detail)
    client.stream.write(Buffer.from('still here'))
    client.stream.end()
    t.is((await server.whole()).toString(), 'still here')
    server.stream.end()
    t.is((await client.over()).kind, 'finished')
    await until('the session to close', () => closed)
  })

  at('finishes open streams after the client retires', async (t, { pair, session }) => {
    const { client, server } = await pair()
    session.retire()
    t.true(session.closing)
    client.stream.write(Buffer.from('last words'))
    client.stream.end()
    t.is((await server.whole()).toString(), 'last words')
    server.stream.end()
    t.is((await client.over()).kind, 'finished')
  })

  at('answers for a session that died with requests open', async (t, { session, served }) => {
    const opening = session.open(AUTHORITY, {}, NEVER)
    await served.next()
    served.sessions[0]?.destroy()
    const opened = await opening
    t.false(opened.ok)
    if (!opened.ok) {
      t.is(opened.error.reason, 'h2-failed')
      t.true(opened.error.unprocessed)
    }
    await until('the session to close', () => session.closing)
  })

  at('knows how many streams the peer allows', async (t, { session }) => {
    t.is(session.streamsMax, LIMITS.streamsPerSessionMax)
  })
}

function refusals(at: At): void {
  for (const [status, reason] of [
    [400, 'peer-refused'],
    [401, 'peer-denied'],
    [503, 'peer-refused'],
  ] as const) {
    at(`reports the refusal ${status}`, async (t, { session, served }) => {
      const opening = session.open(AUTHORITY, {}, NEVER)
      const request = await served.next()
      request.refuse(status)
      const opened = await opening
      t.false(opened.ok)
      if (!opened.ok) {
        t.is(opened.error.status, status)
        t.is(opened.error.reason, reason)
        t.not(opened.error.unprocessed, true)
      }
      await until('the stream to be gone', () => session.openStreams === 0)
      t.false(session.closing)
    })
  }
}

function strangers(at: At): void {
  at('refuses a server of another identity', async (t, { bench, served }) => {
    const peer = { ...served.peer, expectedIdentities: [CLIENT_ID] }
    const identity = held(bench.identities, CLIENT_ID)
    const dialled = await bench.transport.dial(peer, identity, POD, 5_000, NEVER)
    t.false(dialled.ok)
    if (!dialled.ok) t.is(dialled.error.reason, 'identity-mismatch')
  })

  at('refuses every server when no identity is expected', async (t, { bench, served }) => {
    const peer = { ...served.peer, expectedIdentities: [] }
    const identity = held(bench.identities, CLIENT_ID)
    const dialled = await bench.transport.dial(peer, identity, POD, 5_000, NEVER)
    t.false(dialled.ok)
  })

  at('reports an endpoint that does not listen', async (t, { bench, served }) => {
    const identity = held(bench.identities, CLIENT_ID)
    const peer = { ...served.peer, port: 1 }
    const dialled = await bench.transport.dial(peer, identity, POD, 5_000, NEVER)
    t.false(dialled.ok)
    if (!dialled.ok) t.is(dialled.error.reason, 'connect-failed')
  })

  at('hangs up on a client that does not speak TLS', async (t, { served }) => {
    const socket = connectPlain(served.peer.port, '127.0.0.1')
    socket.on('error', () => {})
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.write('GET / HTTP/1.1\r\n\r\n')
    await closed
    await until('the failure', () => served.failures.length === 1)
    t.is(served.failures[0]?.reason, 'tls-failed')
  })
}

async function benchOf(kernel: Kernel, make: MakeTransport, clock: Clock): Promise<Bench> {
  const identities = await identityStore(CLIENT_ID, SERVER_ID)
  return { kernel, identities, transport: make(kernel, clock) }
}

async function openPair(served: TunnelServer, session: TunnelSession): Promise<Pair> {
  const opening = session.open(AUTHORITY, {}, NEVER)
  const request = await served.next()
  const server = new Collector(request.accept({}))
  const opened = await opening
  if (!opened.ok) throw new Error(opened.error.detail)
  return { client: new Collector(opened.value.stream), server }
}
