// A question as it came: what is asked, and what must be kept of how it was asked.
import { decode } from 'dns-packet'
import { CLASS, FLAG, HEADER_BYTES, type Outline, outline, POINTER, RCODE, TYPE } from './wire.ts'

export interface Edns {
  /** What the asker takes by UDP. */
  readonly udpBytes: number
  readonly version: number
  /** DNSSEC OK. */
  readonly dnssec: boolean
}

export interface Query {
  readonly bytes: Buffer
  readonly flags: number
  /** Lower case, without the last dot; '.' is the root. */
  readonly name: string
  readonly type: number
  readonly class: number
  /** Behind the only question, which begins behind the header. */
  readonly questionEnd: number
  readonly edns: Edns | undefined
  /** The same bytes, but for the ID, always ask the same: no option that stands for the asker. */
  readonly plain: boolean
  /** An ordinary query. Others (updates, notifications) are for the resolver alone. */
  readonly standard: boolean
}

export type ReadQuery =
  | { readonly kind: 'query'; readonly query: Query }
  /** Not even worth an answer: no header, or itself an answer. */
  | { readonly kind: 'ignored' }
  /** `answer` says so to the asker. */
  | { readonly kind: 'malformed'; readonly answer: Buffer }

export function readQuery(bytes: Buffer): ReadQuery {
  if (bytes.length < HEADER_BYTES || isResponse(bytes)) return { kind: 'ignored' }
  const parts = outline(bytes)
  const query = parts?.questions === 1 ? queryOf(bytes, parts) : undefined
  if (query === undefined) return { kind: 'malformed', answer: headerOnly(bytes, RCODE.formErr) }
  return { kind: 'query', query }
}

export function isResponse(message: Buffer): boolean {
  return ((message[2] ?? 0) & 0x80) !== 0
}

/** A response of a header and nothing else. */
function headerOnly(query: Buffer, rcode: number): Buffer {
  const answer = Buffer.alloc(HEADER_BYTES)
  query.copy(answer, 0, 0, 4)
  const kept = query.readUInt16BE(2) & (FLAG.opcode | FLAG.recursionDesired)
  answer.writeUInt16BE(FLAG.response | kept | FLAG.recursionAvailable | rcode, 2)
  return answer
}

function queryOf(bytes: Buffer, parts: Outline): Query | undefined {
  const end = parts.questionsEnd
  const name = nameOf(bytes, end)
  if (name === undefined) return undefined
  const options = parts.records.filter((record) => record.type === TYPE.opt)
  const [option] = options
  if (options.length > 1 || (option !== undefined && option.section !== 'additional')) {
    return undefined
  }
  return {
    bytes,
    flags: parts.flags,
    name,
    type: bytes.readUInt16BE(end - 4),
    class: bytes.readUInt16BE(end - 2),
    questionEnd: end,
    edns: option === undefined ? undefined : ednsAt(bytes, option.typeAt),
    plain: parts.records.length === options.length && (option?.dataBytes ?? 0) === 0,
    standard: (parts.flags & FLAG.opcode) === 0,
  }
}

/** Source: RFC 6891 section 6.1.2. */
function ednsAt(bytes: Buffer, typeAt: number): Edns {
  return {
    udpBytes: bytes.readUInt16BE(typeAt + 2),
    version: bytes[typeAt + 5] ?? 0,
    dnssec: ((bytes[typeAt + 6] ?? 0) & 0x80) !== 0,
  }
}

/** The library reads a message of nothing but the question, so that it cannot stumble over options
 * it does not know, and makes no list longer than one. */
function nameOf(bytes: Buffer, end: number): string | undefined {
  // A question is the first name: it has nothing to point at.
  for (let at = HEADER_BYTES; at < end - 4; at += (bytes[at] ?? 0) + 1) {
    if ((bytes[at] ?? 0) >= POINTER) return undefined
  }
  const question = Buffer.alloc(end)
  bytes.copy(question, HEADER_BYTES, HEADER_BYTES, end)
  question.writeUInt16BE(1, 4)
  try {
    return decode(question).questions?.[0]?.name.toLowerCase()
  } catch {
    return undefined
  }
}

/** Whether the question is for addresses of the Internet. */
export function isInternet(query: Query): boolean {
  return query.class === CLASS.in || query.class === CLASS.any
}
