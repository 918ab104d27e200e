// Address ranges: "10.0.0.0/8", "2001:db8::/32", or a single address.
import { formatIp, isV4, parseIp } from './ip.ts'

export interface Cidr {
  /** Network address, 16 bytes, IPv4 v4-mapped. */
  readonly bytes: Uint8Array
  /** Prefix length over 128 bits: an IPv4 /8 is 104. */
  readonly bits: number
}

/** Undefined if `text` is neither an address nor a range. Host bits beyond the prefix are cleared. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf('/')
  const address = parseIp(slash < 0 ? text : text.slice(0, slash))
  if (address === undefined) return undefined
  const v4 = isV4(address) && !text.includes(':')
  const lengthText = slash < 0 ? (v4 ? '32' : '128') : text.slice(slash + 1)
  if (!/^(0|[1-9][0-9]{0,2})$/.test(lengthText)) return undefined
  const length = Number(lengthText)
  if (length > (v4 ? 32 : 128)) return undefined
  const bits = v4 ? length + 96 : length
  const bytes = new Uint8Array(address)
  for (let at = 0; at < 16; at++) {
    const keep = Math.max(0, Math.min(8, bits - at * 8))
    bytes[at] = (bytes[at] ?? 0) & (0xff << (8 - keep)) & 0xff
  }
  return { bytes, bits }
}

/** Whether 16 bytes of an address lie in the range. */
export function cidrContains(cidr: Cidr, address: Uint8Array): boolean {
  const whole = cidr.bits >> 3
  for (let at = 0; at < whole; at++) if (cidr.bytes[at] !== address[at]) return false
  const rest = cidr.bits & 7
  if (rest === 0) return true
  const mask = (0xff << (8 - rest)) & 0xff
  return ((cidr.bytes[whole] ?? 0) & mask) === ((address[whole] ?? 0) & mask)
}

export function formatCidr(cidr: Cidr): string {
  const v4 = isV4(cidr.bytes) && cidr.bits >= 96
  return `${formatIp(cidr.bytes)}/${v4 ? cidr.bits - 96 : cidr.bits}`
}
