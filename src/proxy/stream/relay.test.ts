import test from 'ava'
import fc from 'fast-check'
import { manualClock } from '../../base/clock.ts'
import type { Ending } from '../../model/facts.ts'
import { pattern } from '../testing/collector.ts'
import { ScriptedStream } from '../testing/scripted-stream.ts'
import { relay } from './relay.ts'

const QUEUE_MAX = 1_000
const NO_LIMITS = { idleTimeoutMs: 0 }
const SEED = 20_261_120

interface Side {
  readonly stream: ScriptedStream
  readonly body: Buffer
  readonly sizes: number[]
  sent: number
  ended: boolean
}

function side(sizes: readonly number[], seed: number): Side {
  const length = sizes.reduce((sum, size) => sum + size, 0)
  const stream = new ScriptedStream(QUEUE_MAX)
  return { stream, body: pattern(length, seed), sizes: [...sizes], sent: 0, ended: false }
}

/** One step of a peer: it reads, or sends its next chunk, or ends. */
function step(from: Side, reads: boolean): void {
  if (reads) {
    from.stream.peerReads()
    return
  }
  if (from.ended || from.stream.paused) return
  const size = from.sizes.shift()
  if (size === undefined) {
    from.ended = true
    from.stream.peerEnds()
    return
  }
  from.stream.peerSends(Buffer.from(from.body.subarray(from.sent, from.sent + size)))
  from.sent += size
}

async function settled(ending: Promise<Ending>): Promise<Ending | undefined> {
  return Promise.race([
    ending,
    new Promise<undefined>((resolve) => setImmediate(() => resolve(undefined))),
  ])
}

test(`moves every byte in order under any schedule (seed ${SEED})`, async (t) => {
  const sizes = fc.array(fc.integer({ min: 1, max: 2_500 }), { maxLength: 12 })
  const schedule = fc.array(fc.nat(3), { maxLength: 60 })
  await fc.assert(
    fc.asyncProperty(sizes, sizes, schedule, async (there, back, steps) => {
      const client = side(there, 1)
      const server = side(back, 2)
      const ending = relay(client.stream, server.stream, NO_LIMITS, manualClock())
      // The schedule first, then both peers in turn until all is done.
      const rest = Array.from({ length: 400 }, (_, at) => at % 4)
      for (const at of [...steps, ...rest]) step(at & 1 ? client : server, (at & 2) !== 0)
      const result = await settled(ending)
      t.deepEqual(result, {
        reason: 'completed',
        sentBytes: client.body.length,
        receivedBytes: server.body.length,
      })
      t.true(Buffer.concat(server.stream.read).equals(client.body))
      t.true(Buffer.concat(client.stream.read).equals(server.body))
      for (const { stream } of [client, server]) {
        t.true(stream.queuedBytesPeak < QUEUE_MAX + 2_500)
        t.false(stream.aborted)
      }
    }),
    { seed: SEED, numRuns: 200 },
  )
})

test(`a break of one side breaks the other and is never an end (seed ${SEED})`, async (t) => {
  const schedule = fc.array(fc.nat(3), { maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(schedule, fc.boolean(), async (steps, byClient) => {
      const client = side([700, 700, 700, 700, 700], 1)
      const server = side([900, 900, 900, 900], 2)
      const ending = relay(client.stream, server.stream, NO_LIMITS, manualClock())
      for (const at of steps) step(at & 1 ? client : server, (at & 2) !== 0)
      const broken = byClient ? client : server
      const other = byClient ? server : client
      if (broken.stream.over) return
      const endedBefore = broken.ended
      broken.stream.peerBreaks()
      const result = await settled(ending)
      t.is(result?.reason, byClient ? 'downstream-reset' : 'upstream-reset')
      t.is(result?.detail, 'ECONNRESET')
      t.true(other.stream.aborted)
      if (!endedBefore) t.false(other.stream.sawEnd)
    }),
    { seed: SEED, numRuns: 200 },
  )
})

test('keeps one direction open after the other ended', async (t) => {
  const client = new ScriptedStream(QUEUE_MAX)
  const server = new ScriptedStream(QUEUE_MAX)
  const ending = relay(client, server, NO_LIMITS, manualClock())
  client.peerEnds()
  server.peerReads()
  t.true(server.sawEnd)
  t.is(await settled(ending), undefined)
  server.peerSends(Buffer.from('late answer'))
  client.peerReads()
  t.is(Buffer.concat(client.read).toString(), 'late answer')
  server.peerEnds()
  client.peerReads()
  t.is((await ending).reason, 'completed')
})

test('holds a fast sender back until the slow reader has read all', async (t) => {
  const client = new ScriptedStream(QUEUE_MAX)
  const server = new ScriptedStream(QUEUE_MAX)
  void relay(client, server, NO_LIMITS, manualClock())
  client.peerSends(Buffer.alloc(QUEUE_MAX))
  t.true(client.paused)
  t.false(server.paused)
  server.peerReads()
  t.false(client.paused)
})

test('ends an idle connection, counting from the last byte', async (t) => {
  const clock = manualClock()
  const client = new ScriptedStream(QUEUE_MAX)
  const server = new ScriptedStream(QUEUE_MAX)
  const ending = relay(client, server, { idleTimeoutMs: 1_000 }, clock)
  clock.advance(900)
  client.peerSends(Buffer.from('x'))
  clock.advance(999)
  t.is(await settled(ending), undefined)
  clock.advance(1)
  t.is((await ending).reason, 'idle-timeout')
  t.true(client.aborted)
  t.true(server.aborted)
  t.is(clock.pending, 0)
})

test('ends with the reason of its signal, also when that came first', async (t) => {
  for (const early of [true, false]) {
    const stop = new AbortController()
    const client = new ScriptedStream(QUEUE_MAX)
    const server = new ScriptedStream(QUEUE_MAX)
    if (early) stop.abort({ reason: 'policy-changed', detail: 'default/p' })
    const ending = relay(client, server, NO_LIMITS, manualClock(), stop.signal)
    stop.abort({ reason: 'policy-changed', detail: 'default/p' })
    const { reason, detail } = await ending
    t.is(reason, 'policy-changed')
    t.is(detail, 'default/p')
  }
})

test('tells a sender whose reader has closed', async (t) => {
  const client = new ScriptedStream(QUEUE_MAX)
  const server = new ScriptedStream(QUEUE_MAX)
  const ending = relay(client, server, NO_LIMITS, manualClock())
  // A tunnel peer may finish a stream as a whole (RST_STREAM NO_ERROR).
  server.end()
  server.peerReads()
  server.peerEnds()
  t.true(server.over)
  client.peerSends(Buffer.from('into the void'))
  t.is((await ending).reason, 'upstream-reset')
  t.true(client.aborted)
})
