import { type AddressInfo, createServer, type Socket } from 'node:net'
import test from 'ava'
import { systemClock } from '../../base/clock.ts'
import { LIMITS } from '../../model/limits.ts'
import { Collector, pattern } from '../testing/collector.ts'
import { until } from '../testing/conditions.ts'
import { testKernel } from '../testing/kernel.ts'
import { relay } from './relay.ts'
import { SocketStreams } from './socket-stream.ts'

interface Ends {
  readonly stream: ReturnType<SocketStreams['adopt']>
  /** The other end, a plain socket of Node. */
  readonly peer: Socket
  close(): void
}

async function ends(streams: SocketStreams): Promise<Ends> {
  const peers: Socket[] = []
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    peers.push(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const { fd } = await testKernel().connect({ address: '127.0.0.1', port, timeoutMs: 5_000 })
  await until('the peer', () => peers.length === 1)
  const peer = peers[0]
  if (peer === undefined) throw new Error('no peer')
  const close = (): void => {
    peer.destroy()
    server.close()
  }
  return { stream: streams.adopt(fd), peer, close }
}

test('reads nothing before it is started', async (t) => {
  const { stream, peer, close } = await ends(new SocketStreams(testKernel()))
  peer.end('early')
  await new Promise((resolve) => setImmediate(resolve))
  const reader = new Collector(stream)
  t.is((await reader.whole()).toString(), 'early')
  stream.end()
  t.deepEqual(await reader.over(), { kind: 'finished' })
  close()
})

test('tells a reset from an end', async (t) => {
  const { stream, peer, close } = await ends(new SocketStreams(testKernel()))
  const reader = new Collector(stream)
  peer.write('half')
  await until('the bytes', () => reader.bytes === 4)
  peer.resetAndDestroy()
  const outcome = await reader.over()
  t.is(outcome.kind, 'reset')
  t.is(outcome.detail, 'ECONNRESET')
  t.false(reader.ended)
  close()
})

for (const started of [true, false]) {
  test(`abort sends a reset, ${started ? 'started' : 'never started'}`, async (t) => {
    const { stream, peer, close } = await ends(new SocketStreams(testKernel()))
    const errors: (string | undefined)[] = []
    peer.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code))
    peer.resume()
    if (started) {
      const reader = new Collector(stream)
      stream.write(pattern(5_000_000))
      stream.end()
      stream.abort()
      t.deepEqual(await reader.over(), { kind: 'aborted' })
    } else {
      stream.abort()
    }
    await until('the reset', () => errors.length === 1)
    t.is(errors[0], 'ECONNRESET')
    close()
  })
}

test('keeps chunks of many sockets apart in one read buffer', async (t) => {
  const streams = new SocketStreams(testKernel())
  const all = await Promise.all(Array.from({ length: 12 }, () => ends(streams)))
  const readers = all.map(({ stream }) => new Collector(stream))
  const bodies = all.map((_, at) => pattern(700_000 + at * 1_111, at + 1))
  for (const [at, { peer }] of all.entries()) peer.end(bodies[at] ?? '')
  for (const [at, reader] of readers.entries()) {
    t.true(bodies[at]?.equals(await reader.whole()), `socket ${at}`)
  }
  for (const { stream, close } of all) {
    stream.abort()
    close()
  }
})

test('relays between sockets with a slow reader and bounded memory', async (t) => {
  const streams = new SocketStreams(testKernel())
  const client = await ends(streams)
  const server = await ends(streams)
  const ending = relay(client.stream, server.stream, { idleTimeoutMs: 0 }, systemClock)
  const body = pattern(24_000_000)
  client.peer.end(body)
  // Nobody reads at the server: what the relay holds must not grow with what was sent.
  await until('pressure', () => server.stream.queuedBytes >= LIMITS.relayQueueBytesMax)
  for (let turn = 0; turn < 200; turn++) {
    t.true(server.stream.queuedBytes < LIMITS.relayQueueBytesMax + LIMITS.relayChunkBytes)
    await new Promise((resolve) => setImmediate(resolve))
  }
  const chunks: Buffer[] = []
  server.peer.on('data', (chunk) => chunks.push(chunk as Buffer))
  server.peer.on('end', () => server.peer.end('thanks'))
  const { reason, sentBytes, receivedBytes } = await ending
  t.is(reason, 'completed')
  t.is(sentBytes, body.length)
  t.is(receivedBytes, 6)
  t.true(Buffer.concat(chunks).equals(body))
  client.close()
  server.close()
})
