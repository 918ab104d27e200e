// Turns C structs of fixed-width members into objects and back, for values of BPF maps and events.
import { formatIp, IP_BYTES, parseIp } from '../base/ip.ts'

export interface TupleValue {
  readonly source: string
  readonly destination: string
  readonly source_port: number
  readonly destination_port: number
}

type Kind = 'u8' | 'u16' | 'u32' | 'u64' | 'be16' | 'ip' | 'tuple'
type Member = Kind | readonly [kind: 'u8' | 'u32' | 'u64', count: number]
type Members = Readonly<Record<string, Member>>

interface Values {
  readonly u8: number
  readonly u16: number
  readonly u32: number
  readonly u64: bigint
  readonly be16: number
  readonly ip: string
  readonly tuple: TupleValue
}

type ValueOf<M extends Member> = M extends Kind
  ? Values[M]
  : M extends readonly ['u64', number]
    ? readonly bigint[]
    : readonly number[]

export type StructValue<M extends Members> = { readonly [Name in keyof M]: ValueOf<M[Name]> }

export interface MemberPlace {
  readonly name: string
  readonly offset: number
  readonly size: number
}

export interface Layout<M extends Members> {
  readonly name: string
  readonly size: number
  readonly places: readonly MemberPlace[]
  /** Members left out are zero. `ip` texts must be addresses. */
  encode(value: Partial<StructValue<M>>): Buffer
  decode(bytes: Uint8Array): StructValue<M>
}

const SIZES: Readonly<Record<Kind, number>> = {
  u8: 1,
  u16: 2,
  u32: 4,
  u64: 8,
  be16: 2,
  ip: IP_BYTES,
  tuple: 2 * IP_BYTES + 4,
}

/** Addresses and tuples are made of 32-bit words. */
const alignmentOf = (kind: Kind): number => Math.min(SIZES[kind], kind === 'u64' ? 8 : 4)

interface Step extends MemberPlace {
  readonly kind: Kind
  readonly count: number | undefined
}

/** A struct with C's alignment, from its members in order. */
export function layout<const M extends Members>(name: string, members: M): Layout<M> {
  const steps: Step[] = []
  let offset = 0
  let widest = 1
  for (const [member, shape] of Object.entries<Member>(members)) {
    const [kind, count] = typeof shape === 'string' ? [shape, undefined] : shape
    const alignment = alignmentOf(kind)
    offset = roundUp(offset, alignment)
    const size = SIZES[kind] * (count ?? 1)
    steps.push({ name: member, offset, size, kind, count })
    offset += size
    widest = Math.max(widest, alignment)
  }
  const size = roundUp(offset, widest)
  return {
    name,
    size,
    places: steps,
    encode: (value) => encodeStruct(steps, size, value),
    decode: (bytes) => decodeStruct(name, steps, size, bytes) as StructValue<M>,
  }
}

function encodeStruct(
  steps: readonly Step[],
  size: number,
  value: Readonly<Record<string, unknown>>,
): Buffer {
  const bytes = Buffer.alloc(size)
  for (const step of steps) {
    const given = value[step.name]
    if (given === undefined) continue
    if (step.count === undefined) {
      write(bytes, step.kind, step.offset, given)
      continue
    }
    for (const [index, item] of (given as readonly unknown[]).slice(0, step.count).entries()) {
      write(bytes, step.kind, step.offset + index * SIZES[step.kind], item)
    }
  }
  return bytes
}

function decodeStruct(
  name: string,
  steps: readonly Step[],
  size: number,
  bytes: Uint8Array,
): Readonly<Record<string, unknown>> {
  if (bytes.length < size) throw new RangeError(`${name}: ${bytes.length} bytes, needs ${size}`)
  const from = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const value: Record<string, unknown> = {}
  for (const { name: member, kind, count, offset } of steps) {
    value[member] =
      count === undefined
        ? read(from, kind, offset)
        : Array.from({ length: count }, (_, at) => read(from, kind, offset + at * SIZES[kind]))
  }
  return value
}

// The types of `layout` guarantee that the value fits its kind.
function write(bytes: Buffer, kind: Kind, offset: number, value: unknown): void {
  switch (kind) {
    case 'u8':
      bytes.writeUInt8(value as number, offset)
      return
    case 'u16':
      bytes.writeUInt16LE(value as number, offset)
      return
    case 'be16':
      bytes.writeUInt16BE(value as number, offset)
      return
    case 'u32':
      bytes.writeUInt32LE(value as number, offset)
      return
    case 'u64':
      bytes.writeBigUInt64LE(value as bigint, offset)
      return
    case 'ip':
      writeIp(bytes, offset, value as string)
      return
    case 'tuple': {
      const tuple = value as TupleValue
      writeIp(bytes, offset, tuple.source)
      writeIp(bytes, offset + IP_BYTES, tuple.destination)
      bytes.writeUInt16BE(tuple.source_port, offset + 2 * IP_BYTES)
      bytes.writeUInt16BE(tuple.destination_port, offset + 2 * IP_BYTES + 2)
    }
  }
}

function read(bytes: Buffer, kind: Kind, offset: number): unknown {
  switch (kind) {
    case 'u8':
      return bytes.readUInt8(offset)
    case 'u16':
      return bytes.readUInt16LE(offset)
    case 'be16':
      return bytes.readUInt16BE(offset)
    case 'u32':
      return bytes.readUInt32LE(offset)
    case 'u64':
      return bytes.readBigUInt64LE(offset)
    case 'ip':
      return formatIp(bytes, offset)
    case 'tuple':
      return {
        source: formatIp(bytes, offset),
        destination: formatIp(bytes, offset + IP_BYTES),
        source_port: bytes.readUInt16BE(offset + 2 * IP_BYTES),
        destination_port: bytes.readUInt16BE(offset + 2 * IP_BYTES + 2),
      } satisfies TupleValue
  }
}

function writeIp(bytes: Buffer, offset: number, text: string): void {
  const ip = parseIp(text)
  if (ip === undefined) throw new RangeError(`"${text}" is not an IP address`)
  bytes.set(ip, offset)
}

const roundUp = (value: number, to: number): number => Math.ceil(value / to) * to
