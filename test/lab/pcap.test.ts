import test from 'ava'
import { findBytes, parsePcap, tcpStreams } from './pcap.ts'

const HEADER = Buffer.from('d4c3b2a1020004000000000000000000000004000100000000'.slice(0, 48), 'hex')

function record(frame: Buffer): Buffer {
  const head = Buffer.alloc(16)
  head.writeUInt32LE(7, 0)
  head.writeUInt32LE(500, 4)
  head.writeUInt32LE(frame.length, 8)
  head.writeUInt32LE(frame.length, 12)
  return Buffer.concat([head, frame])
}

function tcpFrame(sequence: number, payload: string): Buffer {
  const tcp = Buffer.alloc(20)
  tcp.writeUInt16BE(1000, 0)
  tcp.writeUInt16BE(80, 2)
  tcp.writeUInt32BE(sequence, 4)
  tcp.writeUInt8(5 << 4, 12)
  const ip = Buffer.alloc(20)
  ip.writeUInt8(0x45, 0)
  ip.writeUInt16BE(40 + payload.length, 2)
  ip.writeUInt8(6, 9)
  ip.set([10, 0, 0, 1, 10, 0, 0, 2], 12)
  const ethernet = Buffer.alloc(14)
  ethernet.writeUInt16BE(0x0800, 12)
  // Padding that belongs to no packet.
  return Buffer.concat([ethernet, ip, tcp, Buffer.from(payload), Buffer.from('PAD')])
}

const file = (...frames: Buffer[]) => Buffer.concat([HEADER, ...frames.map(record)])
const FLOW = '10.0.0.1:1000 > 10.0.0.2:80'

test('reads addresses, ports and payload, and leaves padding out', (t) => {
  const [packet, ...others] = parsePcap(file(tcpFrame(5, 'hello')))
  t.is(others.length, 0)
  t.like(packet, {
    timeUs: 7_000_500,
    ip: { source: '10.0.0.1', destination: '10.0.0.2', protocol: 6 },
    ports: { source: 1000, destination: 80 },
    tcp: { sequence: 5 },
  })
  t.is(packet?.payload.toString(), 'hello')
})

const STREAMS: readonly (readonly [string, readonly (readonly [number, string])[], string])[] = [
  ['in order', [[1, 'ab'], [3, 'cd']], 'abcd'], // biome-ignore format: a table
  ['out of order', [[3, 'cd'], [1, 'ab']], 'abcd'], // biome-ignore format: a table
  ['sent again', [[1, 'ab'], [1, 'ab'], [3, 'cd']], 'abcd'], // biome-ignore format: a table
  ['sent again in other pieces', [[1, 'ab'], [1, 'abcd'], [4, 'de']], 'abcde'], // biome-ignore format: a table
  ['with sequence numbers that wrap', [[0xffff_fffe, 'ab'], [0, 'cd']], 'abcd'], // biome-ignore format: a table
]

for (const [what, pieces, expected] of STREAMS) {
  test(`puts a stream together: ${what}`, (t) => {
    const packets = parsePcap(file(...pieces.map(([at, text]) => tcpFrame(at, text))))
    t.is(tcpStreams(packets).get(FLOW)?.toString(), expected)
  })
}

test('finds words over packet borders, and says in which flow', (t) => {
  const packets = parsePcap(file(tcpFrame(1, 'sec'), tcpFrame(4, 'ret')))
  t.deepEqual(findBytes(packets, 'secret'), [FLOW])
  t.deepEqual(findBytes(packets, 'secrets'), [])
})

test('leaves out a record that is cut off, and refuses other files', (t) => {
  const whole = file(tcpFrame(1, 'one'), tcpFrame(4, 'two'))
  t.is(parsePcap(whole.subarray(0, whole.length - 3)).length, 1)
  t.throws(() => parsePcap(Buffer.from('not a capture, but long enough to be read')))
})
