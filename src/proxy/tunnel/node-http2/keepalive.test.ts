import { connect, createServer, type Socket } from 'node:net'
import test from 'ava'
import { manualClock } from '../../../base/clock.ts'
import { LIMITS } from '../../../model/limits.ts'
import { Collector } from '../../testing/collector.ts'
import { until } from '../../testing/conditions.ts'
import { identityStore } from '../../testing/identities.ts'
import { testKernel } from '../../testing/kernel.ts'
import {
  type Bench,
  CLIENT_ID,
  dialTunnel,
  SERVER_ID,
  serveTunnels,
} from '../../testing/tunnel-pair.ts'
import { NodeTunnels } from './transport.ts'

async function benchWith(clock = manualClock(Date.now())) {
  const kernel = testKernel()
  const identities = await identityStore(CLIENT_ID, SERVER_ID)
  const bench: Bench = { kernel, identities, transport: new NodeTunnels({ kernel, clock }) }
  return { bench, clock }
}

/** A wire that can be cut without either end being told. */
async function wireTo(port: number) {
  const sockets: Socket[] = []
  let cut = false
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.push(from)
      from.on('error', () => {})
      from.on('data', (chunk) => {
        if (!cut) to.write(chunk)
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as { port: number }).port,
    cut() {
      cut = true
    },
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

test('a peer that answers pings keeps its session', async (t) => {
  const { bench, clock } = await benchWith()
  const served = await serveTunnels(bench)
  const session = await dialTunnel(bench, served.peer)
  await until('the server', () => served.sessions.length === 1)
  for (let round = 0; round < 5; round++) {
    const pending = clock.pending
    clock.advance(LIMITS.pingIntervalMs)
    // The answer puts the next ping in the place of the time limit.
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
    t.is(clock.pending, pending)
  }
  t.false(session.closing)
  session.destroy()
  served.close()
})

test('a peer that is gone without a word is noticed, and its streams break', async (t) => {
  const { bench, clock } = await benchWith()
  const served = await serveTunnels(bench)
  const wire = await wireTo(served.peer.port)
  const session = await dialTunnel(bench, { ...served.peer, port: wire.port })
  const opening = session.open('127.0.0.1:80', {}, new AbortController().signal)
  const server = new Collector((await served.next()).accept({}))
  const opened = await opening
  if (!opened.ok) return t.fail(opened.error.detail)
  const client = new Collector(opened.value.stream)
  wire.cut()
  clock.advance(LIMITS.pingIntervalMs)
  await new Promise((resolve) => setImmediate(resolve))
  t.false(session.closing)
  clock.advance(LIMITS.pingTimeoutMs)
  t.true(session.closing)
  t.is((await client.over()).kind, 'reset')
  t.is((await server.over()).kind, 'reset')
  t.false(client.ended || server.ended)
  wire.close()
  served.close()
  return undefined
})

test('a session that was retired keeps its streams as long as they last', async (t) => {
  const { bench, clock } = await benchWith()
  const served = await serveTunnels(bench)
  const session = await dialTunnel(bench, served.peer)
  const opening = session.open('127.0.0.1:80', {}, new AbortController().signal)
  const server = new Collector((await served.next()).accept({}))
  const opened = await opening
  if (!opened.ok) return t.fail(opened.error.detail)
  const client = new Collector(opened.value.stream)
  session.retire()
  served.sessions[0]?.retire()
  for (let round = 0; round < 10; round++) {
    clock.advance(LIMITS.pingTimeoutMs)
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
  }
  t.is(client.outcome, undefined)
  client.stream.write(Buffer.from('still here'))
  client.stream.end()
  t.is((await server.whole()).toString(), 'still here')
  server.stream.end()
  t.is((await client.over()).kind, 'finished')
  await until('no timers', () => clock.pending === 0)
  served.close()
  return undefined
})

test('a peer that does not answer CONNECT is not waited for for ever', async (t) => {
  const { bench, clock } = await benchWith()
  const served = await serveTunnels(bench)
  const session = await dialTunnel(bench, served.peer)
  const opening = session.open('127.0.0.1:80', {}, new AbortController().signal)
  await served.next()
  clock.advance(2 * LIMITS.handshakeTimeoutMs)
  const opened = await opening
  t.false(opened.ok)
  if (!opened.ok) t.is(opened.error.reason, 'connect-failed')
  session.destroy()
  served.close()
})
