// Responses of our own, in bytes. Names are written once and pointed at, for which the library has
// no way: without it 512 bytes hold 11 addresses of a name of usual length, with it 29.
import { isV4, parseIp } from '../../base/ip.ts'
import type { Answer } from './answer.ts'
import type { Query } from './query.ts'
import { CLASS, FLAG, HEADER_BYTES, POINTER, RCODE, TYPE } from './wire.ts'

/** What we say we take and send by UDP. */
const UDP_BYTES_MAX = 4096
/** Source: RFC 1035 section 4.2.1, where the asker says nothing else. */
const UDP_BYTES_MIN = 512
export const TCP_BYTES_MAX = 65_535

/** Seconds that programs may hold addresses of ours. */
const TTL_S = 30

/** An IPv4 address, with a pointer for its name. */
const RECORD_BYTES_MIN = 16

/** Bytes of a response that the asker takes by UDP. */
export function udpBytes(query: Query): number {
  const wanted = query.edns?.udpBytes ?? UDP_BYTES_MIN
  return Math.min(Math.max(wanted, UDP_BYTES_MIN), UDP_BYTES_MAX)
}

/** The answer, or, where it does not fit into `bytesMax`, the word to ask by TCP. */
export function writeAnswer(query: Query, answer: Answer, bytesMax: number): Buffer {
  if (query.edns !== undefined && query.edns.version !== 0) {
    return respond(query, RCODE.badVersion, [], 0)
  }
  const cut = () => respond(query, RCODE.ok, [], FLAG.authoritative | FLAG.truncated)
  // Not written in vain: whoever asks for much by UDP may ask often.
  if (answer.addresses.length * RECORD_BYTES_MIN > bytesMax) return cut()
  const records: Buffer[] = []
  let owner = pointerTo(HEADER_BYTES)
  if (answer.alias !== undefined) {
    const data = nameBytes(answer.alias)
    records.push(recordBytes(owner, TYPE.cname, data))
    // Behind the question: the pointer, the fixed part, then the name.
    owner = pointerTo(query.questionEnd + owner.length + 10)
  }
  for (const address of answer.addresses) records.push(addressRecord(owner, address))
  const whole = respond(query, RCODE.ok, records, FLAG.authoritative)
  return whole.length <= bytesMax ? whole : cut()
}

/** An answer of nothing but the reason. */
export function writeFailure(query: Query, rcode: number): Buffer {
  return respond(query, rcode, [], 0)
}

function respond(query: Query, rcode: number, answers: readonly Buffer[], flags: number): Buffer {
  const head = Buffer.from(query.bytes.subarray(0, query.questionEnd))
  const kept = query.flags & (FLAG.opcode | FLAG.recursionDesired | FLAG.checkingDisabled)
  const word = FLAG.response | FLAG.recursionAvailable | kept | flags | (rcode & FLAG.rcode)
  head.writeUInt16BE(word, 2)
  head.writeUInt16BE(answers.length, 6)
  head.writeUInt16BE(0, 8)
  head.writeUInt16BE(query.edns === undefined ? 0 : 1, 10)
  const option = query.edns === undefined ? [] : [ednsRecord(rcode, query.edns.dnssec)]
  return Buffer.concat([head, ...answers, ...option])
}

function addressRecord(owner: Buffer, address: string): Buffer {
  const bytes = parseIp(address)
  if (bytes === undefined) throw new Error(`not an address: ${address}`)
  const v4 = isV4(bytes)
  return recordBytes(owner, v4 ? TYPE.a : TYPE.aaaa, v4 ? bytes.subarray(12) : bytes)
}

function recordBytes(owner: Buffer, type: number, data: Uint8Array): Buffer {
  const record = Buffer.alloc(owner.length + 10 + data.length)
  let at = owner.copy(record)
  at = record.writeUInt16BE(type, at)
  at = record.writeUInt16BE(CLASS.in, at)
  at = record.writeUInt32BE(TTL_S, at)
  at = record.writeUInt16BE(data.length, at)
  record.set(data, at)
  return record
}

/** Source: RFC 6891 section 6.1.3. */
function ednsRecord(rcode: number, dnssec: boolean): Buffer {
  const record = Buffer.alloc(11)
  record.writeUInt16BE(TYPE.opt, 1)
  record.writeUInt16BE(UDP_BYTES_MAX, 3)
  record[5] = rcode >> 4
  record[7] = dnssec ? 0x80 : 0
  return record
}

function pointerTo(at: number): Buffer {
  return Buffer.from([POINTER | (at >> 8), at & 0xff])
}

function nameBytes(name: string): Buffer {
  const labels = name.split('.').map((label) => {
    const bytes = Buffer.from(label)
    return Buffer.concat([Buffer.from([bytes.length]), bytes])
  })
  return Buffer.concat([...labels, Buffer.from([0])])
}
