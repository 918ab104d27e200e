// Reads capture files (pcap, Ethernet) and puts TCP streams together again. Pure.

export interface Packet {
  /** Since the epoch. */
  readonly timeUs: number
  /** The whole frame. */
  readonly frame: Buffer
  readonly ip?: {
    readonly source: string
    readonly destination: string
    /** 6 TCP, 17 UDP ... */
    readonly protocol: number
  }
  readonly ports?: { readonly source: number; readonly destination: number }
  readonly tcp?: { readonly sequence: number; readonly flags: number }
  /** What TCP or UDP carries. */
  readonly payload: Buffer
}

const MAGIC_MICROSECONDS = 0xa1b2c3d4
const LINK_ETHERNET = 1
const FILE_HEADER = 24
const RECORD_HEADER = 16
const ETHERNET_HEADER = 14
const NOTHING = Buffer.alloc(0)

/** Packets in the order they were seen; a record cut off at the end is left out. */
export function parsePcap(file: Buffer): Packet[] {
  if (file.length < FILE_HEADER || file.readUInt32LE(0) !== MAGIC_MICROSECONDS) {
    throw new Error('not a little-endian pcap file with microseconds')
  }
  if (file.readUInt32LE(20) !== LINK_ETHERNET) throw new Error('not a capture of Ethernet frames')
  const packets: Packet[] = []
  for (let at = FILE_HEADER; at + RECORD_HEADER <= file.length; ) {
    const length = file.readUInt32LE(at + 8)
    const start = at + RECORD_HEADER
    if (start + length > file.length) break
    const timeUs = file.readUInt32LE(at) * 1e6 + file.readUInt32LE(at + 4)
    packets.push(parseFrame(file.subarray(start, start + length), timeUs))
    at = start + length
  }
  return packets
}

function parseFrame(frame: Buffer, timeUs: number): Packet {
  const none = { timeUs, frame, payload: NOTHING }
  if (frame.length < ETHERNET_HEADER) return none
  const body = frame.subarray(ETHERNET_HEADER)
  const type = frame.readUInt16BE(12)
  if (type === 0x0800 && body.length >= 20) {
    const protocol = body.readUInt8(9)
    const source = body.subarray(12, 16).join('.')
    const destination = body.subarray(16, 20).join('.')
    // Frames are padded to 60 bytes; the length says what belongs to the packet, except for
    // oversized ones of segmentation offload, which carry 0.
    const total = body.readUInt16BE(2) || body.length
    const rest = body.subarray((body.readUInt8(0) & 15) * 4, total)
    return { ...none, ip: { source, destination, protocol }, ...transport(protocol, rest) }
  }
  if (type === 0x86dd && body.length >= 40) {
    const protocol = body.readUInt8(6)
    const source = ip6Text(body.subarray(8, 24))
    const destination = ip6Text(body.subarray(24, 40))
    const total = body.readUInt16BE(4) || body.length - 40
    const rest = body.subarray(40, 40 + total)
    return { ...none, ip: { source, destination, protocol }, ...transport(protocol, rest) }
  }
  return none
}

function transport(protocol: number, rest: Buffer): Partial<Packet> {
  const isTcp = protocol === 6 && rest.length >= 20
  const isUdp = protocol === 17 && rest.length >= 8
  if (!isTcp && !isUdp) return { payload: rest }
  const ports = { source: rest.readUInt16BE(0), destination: rest.readUInt16BE(2) }
  if (isUdp) return { ports, payload: rest.subarray(8) }
  const tcp = { sequence: rest.readUInt32BE(4), flags: rest.readUInt8(13) }
  return { ports, tcp, payload: rest.subarray((rest.readUInt8(12) >> 4) * 4) }
}

/** Canonical text (RFC 5952) of 16 bytes. */
function ip6Text(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2).toString(16))
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

/** `source:port > destination:port`. */
export function flowOf(packet: Packet): string {
  const { ip, ports } = packet
  return `${ip?.source}:${ports?.source} > ${ip?.destination}:${ports?.destination}`
}

/** Bytes of each TCP direction in order, retransmissions once, by `flowOf`. */
export function tcpStreams(packets: readonly Packet[]): Map<string, Buffer> {
  const flows = new Map<string, { first: number; pieces: Map<number, Buffer> }>()
  for (const packet of packets) {
    if (packet.tcp === undefined || packet.payload.length === 0) continue
    const key = flowOf(packet)
    const flow = flows.get(key) ?? { first: packet.tcp.sequence, pieces: new Map() }
    flows.set(key, flow)
    // Signed distance, so that a sequence number may wrap round, or precede the first one seen.
    const offset = (packet.tcp.sequence - flow.first) | 0
    const known = flow.pieces.get(offset)
    if (known === undefined || known.length < packet.payload.length) {
      flow.pieces.set(offset, packet.payload)
    }
  }
  return new Map([...flows].map(([key, flow]) => [key, joinPieces(flow.pieces)]))
}

function joinPieces(pieces: ReadonlyMap<number, Buffer>): Buffer {
  const sorted = [...pieces].sort(([a], [b]) => a - b)
  const parts: Buffer[] = []
  let end = Number.NEGATIVE_INFINITY
  for (const [offset, piece] of sorted) {
    const overlap = Math.max(0, end - offset)
    if (overlap < piece.length) parts.push(piece.subarray(overlap))
    end = Math.max(end, offset + piece.length)
  }
  return Buffer.concat(parts)
}

/** Where `needle` was readable: in a stream put together again, or in any single frame. */
export function findBytes(packets: readonly Packet[], needle: string | Buffer): string[] {
  const found = new Set<string>()
  for (const [flow, bytes] of tcpStreams(packets)) if (bytes.includes(needle)) found.add(flow)
  for (const packet of packets) if (packet.frame.includes(needle)) found.add(flowOf(packet))
  return [...found]
}
