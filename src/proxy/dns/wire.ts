// The structure of DNS messages without their meaning: where the question and the records are.
// Follows no pointer and makes nothing, so that no message costs more than its length.
// Source: RFC 1035 section 4.1.

export const DNS_PORT = 53
export const HEADER_BYTES = 12

export const TYPE = { a: 1, soa: 6, aaaa: 28, cname: 5, opt: 41 } as const
export const CLASS = { in: 1, any: 255 } as const
export const RCODE = { ok: 0, formErr: 1, servFail: 2, nxDomain: 3, badVersion: 16 } as const
/** Bits of the header's second word. */
export const FLAG = {
  response: 0x8000,
  opcode: 0x7800,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursionDesired: 0x0100,
  recursionAvailable: 0x0080,
  checkingDisabled: 0x0010,
  rcode: 0x000f,
} as const

export interface WireRecord {
  readonly section: 'answer' | 'authority' | 'additional'
  readonly type: number
  /** Of the name. */
  readonly nameAt: number
  /** Of the type; class follows 2, TTL 4 and the length of the data 8 bytes later. */
  readonly typeAt: number
  readonly dataAt: number
  readonly dataBytes: number
}

export interface Outline {
  readonly id: number
  readonly flags: number
  readonly questions: number
  /** Behind the last question. */
  readonly questionsEnd: number
  readonly records: readonly WireRecord[]
}

/** Undefined when the message is not what its header says. Bytes behind its end are left alone. */
export function outline(message: Buffer): Outline | undefined {
  if (message.length < HEADER_BYTES) return undefined
  const questions = message.readUInt16BE(4)
  let at: number | undefined = HEADER_BYTES
  for (let n = 0; n < questions; n++) {
    at = nameEnd(message, at)
    if (at === undefined || at + 4 > message.length) return undefined
    at += 4
  }
  const questionsEnd = at
  const records: WireRecord[] = []
  for (const [section, countAt] of SECTIONS) {
    const count = message.readUInt16BE(countAt)
    for (let n = 0; n < count; n++) {
      const record = recordAt(message, at, section)
      if (record === undefined) return undefined
      records.push(record)
      at = record.dataAt + record.dataBytes
    }
  }
  const id = message.readUInt16BE(0)
  return { id, flags: message.readUInt16BE(2), questions, questionsEnd, records }
}

const SECTIONS = [
  ['answer', 6],
  ['authority', 8],
  ['additional', 10],
] as const

function recordAt(
  message: Buffer,
  nameAt: number,
  section: WireRecord['section'],
): WireRecord | undefined {
  const typeAt = nameEnd(message, nameAt)
  if (typeAt === undefined || typeAt + 10 > message.length) return undefined
  const dataAt = typeAt + 10
  const dataBytes = message.readUInt16BE(typeAt + 8)
  if (dataAt + dataBytes > message.length) return undefined
  return { section, type: message.readUInt16BE(typeAt), nameAt, typeAt, dataAt, dataBytes }
}

/** Behind the name at `at`: its root label, or a pointer. */
function nameEnd(message: Buffer, at: number): number | undefined {
  let next = at
  while (next < message.length && next - at < NAME_BYTES_MAX) {
    const length = message[next] ?? 0
    if (length === 0) return next + 1
    if (length >= POINTER) return next + 2 <= message.length ? next + 2 : undefined
    if (length >= 0x40) return undefined
    next += length + 1
  }
  return undefined
}

const NAME_BYTES_MAX = 255
export const POINTER = 0xc0
