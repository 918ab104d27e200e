// Answers of resolvers, kept for as long as they say, and not longer than a service's own address.
// One for each asking workload: what one is told, no other ever hears.
import { LIMITS } from '../../model/limits.ts'
import { FLAG, type Outline, outline, RCODE, TYPE, type WireRecord } from './wire.ts'

interface Entry {
  readonly answer: Buffer
  /** Where in it lifetimes are. */
  readonly ttlsAt: readonly number[]
  readonly storedMs: number
  readonly untilMs: number
}

export interface CacheLimits {
  readonly entriesMax: number
  readonly bytesMax: number
}

const DEFAULT_LIMITS: CacheLimits = {
  entriesMax: LIMITS.dnsCacheEntriesMax,
  bytesMax: LIMITS.dnsCacheBytesMax,
}

export class AnswerCache {
  readonly #limits: CacheLimits
  /** The first was used least recently. */
  readonly #entries = new Map<string, Entry>()
  #bytes = 0

  constructor(limits: CacheLimits = DEFAULT_LIMITS) {
    this.#limits = limits
  }

  get bytes(): number {
    return this.#bytes
  }

  /** A copy with `id`, and with lifetimes less the time since. */
  get(key: string, id: number, nowMs: number): Buffer | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    if (nowMs >= entry.untilMs || nowMs < entry.storedMs) {
      this.#drop(key, entry)
      return undefined
    }
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    const answer = Buffer.from(entry.answer)
    answer.writeUInt16BE(id, 0)
    const ageS = Math.floor((nowMs - entry.storedMs) / 1000)
    for (const at of entry.ttlsAt) answer.writeUInt32BE(answer.readUInt32BE(at) - ageS, at)
    return answer
  }

  /** Keeps a copy of the answer if it may be kept. */
  put(key: string, answer: Buffer, nowMs: number): void {
    const held = this.#entries.get(key)
    if (held !== undefined) this.#drop(key, held)
    const parts = outline(answer)
    const lifeS = parts === undefined ? 0 : lifetimeS(answer, parts)
    if (parts === undefined || lifeS === 0) return
    const cost = costOf(key, answer)
    if (cost > this.#limits.bytesMax) return
    const ttlsAt = aging(parts).map(({ typeAt }) => typeAt + 4)
    const untilMs = nowMs + lifeS * 1000
    this.#entries.set(key, { answer: ownCopy(answer), ttlsAt, storedMs: nowMs, untilMs })
    this.#bytes += cost
    for (const [oldest, entry] of this.#entries) {
      const { entriesMax, bytesMax } = this.#limits
      if (this.#entries.size <= entriesMax && this.#bytes <= bytesMax) break
      this.#drop(oldest, entry)
    }
  }

  #drop(key: string, entry: Entry): void {
    this.#entries.delete(key)
    this.#bytes -= costOf(key, entry.answer)
  }
}

/** Roughly: what the entry itself takes beside the bytes. */
const ENTRY_BYTES = 200

function costOf(key: string, answer: Buffer): number {
  return key.length + answer.length + ENTRY_BYTES
}

/**
 * Seconds that an answer holds; 0: not to be kept. A name or type that does not exist is as its SOA
 * says, and failures and what was cut off are asked again. Source: RFC 2308 sections 5 and 7,
 * RFC 1035 section 7.4.
 */
export function lifetimeS(answer: Buffer, parts: Outline): number {
  const rcode = parts.flags & FLAG.rcode
  if ((parts.flags & FLAG.truncated) !== 0) return 0
  if (rcode !== RCODE.ok && rcode !== RCODE.nxDomain) return 0
  const ttls = aging(parts).map(({ typeAt }) => ttlAt(answer, typeAt + 4))
  const soa = parts.records.find(
    ({ section, type }) => section === 'authority' && type === TYPE.soa,
  )
  const isAnswer = rcode === RCODE.ok && parts.records.some(({ section }) => section === 'answer')
  if (soa === undefined && !isAnswer) return 0
  if (soa !== undefined) {
    if (soa.dataBytes < 22) return 0
    ttls.push(ttlAt(answer, soa.dataAt + soa.dataBytes - 4))
  }
  return Math.min(LIMITS.dnsCacheTtlMaxS, ...ttls)
}

/** The lifetime in an OPT record is something else. */
function aging({ records }: Outline): readonly WireRecord[] {
  return records.filter(({ type }) => type !== TYPE.opt)
}

/** With the highest bit set it is zero. Source: RFC 2181 section 8. */
function ttlAt(message: Buffer, at: number): number {
  const ttl = message.readUInt32BE(at)
  return ttl > 0x7fffffff ? 0 : ttl
}

/** Not a part of a larger piece of memory, which it would hold. */
function ownCopy(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(copy)
  return copy
}
