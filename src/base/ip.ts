// IP addresses as text and as 16 bytes. IPv4 is held v4-mapped (::ffff:a.b.c.d, RFC 4291 2.5.5.2)
// wherever bytes are used, which is also how BPF maps key it.

export const IP_BYTES = 16

/** The 16 bytes of an address, IPv4 v4-mapped; undefined if `text` is not an address. */
export function parseIp(text: string): Uint8Array | undefined {
  return text.includes(':') ? parseV6(text) : parseV4(text)
}

/** Canonical text (RFC 5952), v4-mapped addresses as plain IPv4; undefined if not an address. */
export function canonicalIp(text: string): string | undefined {
  const bytes = parseIp(text)
  return bytes === undefined ? undefined : formatIp(bytes)
}

export function isV4(bytes: Uint8Array): boolean {
  for (let at = 0; at < 10; at++) if (bytes[at] !== 0) return false
  return bytes[10] === 0xff && bytes[11] === 0xff
}

/** Canonical text of 16 bytes at `offset`. */
export function formatIp(bytes: Uint8Array, offset = 0): string {
  const view = bytes.subarray(offset, offset + IP_BYTES)
  if (isV4(view)) return `${view[12]}.${view[13]}.${view[14]}.${view[15]}`
  const groups: number[] = []
  for (let at = 0; at < IP_BYTES; at += 2) groups.push(((view[at] ?? 0) << 8) | (view[at + 1] ?? 0))
  return formatGroups(groups)
}

/** `ip:port`, with brackets round IPv6 (RFC 3986 3.2.2). */
export function formatEndpoint(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`
}

/** The parts of `ip:port` or `[v6]:port`; undefined if the address or port is malformed. */
export function parseEndpoint(text: string): { ip: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})$/.exec(text)
  if (match === null) return undefined
  const ip = canonicalIp(match[1] ?? match[2] ?? '')
  const port = Number(match[3])
  if (ip === undefined || port < 1 || port > 65535) return undefined
  if (match[2] !== undefined && ip.includes(':')) return undefined
  return { ip, port }
}

function parseV4(text: string): Uint8Array | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  const bytes = new Uint8Array(IP_BYTES)
  bytes[10] = 0xff
  bytes[11] = 0xff
  for (const [at, part] of parts.entries()) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part)) return undefined
    const value = Number(part)
    if (value > 255) return undefined
    bytes[12 + at] = value
  }
  return bytes
}

function parseV6(text: string): Uint8Array | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const head = parseGroups(halves[0] ?? '')
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '') : []
  if (head === undefined || tail === undefined) return undefined
  const missing = 8 - head.length - tail.length
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail]
  const bytes = new Uint8Array(IP_BYTES)
  for (const [at, group] of groups.entries()) {
    bytes[at * 2] = group >> 8
    bytes[at * 2 + 1] = group & 0xff
  }
  return bytes
}

function parseGroups(text: string): number[] | undefined {
  if (text === '') return []
  const groups: number[] = []
  const parts = text.split(':')
  for (const [at, part] of parts.entries()) {
    if (part.includes('.')) {
      const v4 = at === parts.length - 1 ? parseV4(part) : undefined
      if (v4 === undefined) return undefined
      groups.push(((v4[12] ?? 0) << 8) | (v4[13] ?? 0), ((v4[14] ?? 0) << 8) | (v4[15] ?? 0))
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined
      groups.push(Number.parseInt(part, 16))
    }
  }
  return groups
}

function formatGroups(groups: readonly number[]): string {
  let bestAt = -1
  let bestLength = 1
  for (let at = 0; at < groups.length; at++) {
    let length = 0
    while (groups[at + length] === 0) length++
    if (length > bestLength) {
      bestAt = at
      bestLength = length
    }
    if (length > 0) at += length
  }
  const hex = (part: readonly number[]) => part.map((group) => group.toString(16)).join(':')
  if (bestAt < 0) return hex(groups)
  return `${hex(groups.slice(0, bestAt))}::${hex(groups.slice(bestAt + bestLength))}`
}
