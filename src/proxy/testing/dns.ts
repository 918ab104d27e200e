// Questions and answers for tests, by the library, which knows nothing of the code under test.
import { type Answer, decode, encode, type RecordType } from 'dns-packet'

export interface Asking {
  readonly id?: number
  readonly type?: RecordType
  /** UDP size of an OPT record; without it there is none. */
  readonly edns?: number
  readonly flags?: number
}

const RECURSION_DESIRED = 0x100

export function question(name: string, asking: Asking = {}): Buffer {
  const { id = 1, type = 'A', edns, flags = RECURSION_DESIRED } = asking
  return encode({
    type: 'query',
    id,
    flags,
    questions: [{ name, type }],
    additionals: edns === undefined ? [] : [option(edns)],
  })
}

function option(udpPayloadSize: number): Answer {
  const none = { extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] }
  return { type: 'OPT', name: '.', udpPayloadSize, ...none }
}

/** A resolver's answer to a question. */
export function answerOf(
  asked: Buffer,
  answers: readonly Answer[],
  more: { readonly authorities?: readonly Answer[]; readonly flags?: number } = {},
): Buffer {
  const { id, questions } = decode(asked)
  return encode({
    type: 'response',
    ...(id === undefined ? {} : { id }),
    flags: more.flags ?? 0x180,
    ...(questions === undefined ? {} : { questions }),
    answers: [...answers],
    authorities: [...(more.authorities ?? [])],
  })
}

export const address = (name: string, data: string, ttl = 60): Answer => ({
  type: data.includes(':') ? 'AAAA' : 'A',
  name,
  ttl,
  data,
})

/** What programs make of an answer. */
export function reading(message: Buffer): {
  readonly id: number
  readonly rcode: number
  readonly truncated: boolean
  readonly authoritative: boolean
  readonly records: readonly string[]
} {
  const read = decode(message)
  const word = message.readUInt16BE(2)
  return {
    id: message.readUInt16BE(0),
    rcode: word & 15,
    truncated: read.flag_tc,
    authoritative: read.flag_aa,
    records: (read.answers ?? []).map((each) => {
      const { name, type, ttl, data } = each as unknown as Record<string, unknown>
      return `${name} ${ttl} ${type} ${data}`
    }),
  }
}
