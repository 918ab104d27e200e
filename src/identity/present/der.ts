// Reads DER (X.690), only as far as certificates need: definite lengths, low tag numbers.

export interface DerElement {
  /** Identifier octet: class, constructed bit and number. */
  readonly tag: number
  readonly content: Uint8Array
}

/** `offset` is where a read failed, counted in the slice being read. */
export class DerError extends Error {
  constructor(what: string, offset: number) {
    super(`${what} at byte ${offset}`)
    this.name = 'DerError'
  }
}

/** The elements of `bytes` in order; throws `DerError` unless they fill it exactly. */
export function readElements(bytes: Uint8Array): readonly DerElement[] {
  const elements: DerElement[] = []
  let at = 0
  while (at < bytes.length) {
    const start = at
    const tag = octet(bytes, at++)
    if ((tag & 0x1f) === 0x1f) throw new DerError('tag number above 30', start)
    let length = octet(bytes, at++)
    if (length >= 0x80) {
      const count = length & 0x7f
      if (count === 0 || count > 4) throw new DerError('unsupported length', start)
      length = 0
      for (let index = 0; index < count; index++) length = length * 256 + octet(bytes, at++)
      // A second spelling of a length would let two readers see two different certificates.
      if (length < 0x80 || (count > 1 && length < 256 ** (count - 1))) {
        throw new DerError('length is not minimal', start)
      }
    }
    if (at + length > bytes.length) throw new DerError('element is cut short', start)
    elements.push({ tag, content: bytes.subarray(at, at + length) })
    at += length
  }
  return elements
}

/** The single element that `bytes` must consist of, with the tag it must have. */
export function readOnly(bytes: Uint8Array, tag: number): Uint8Array {
  const [element, ...more] = readElements(bytes)
  if (element === undefined || more.length > 0) throw new DerError('expected one element', 0)
  return contentOf(element, tag)
}

export function contentOf(element: DerElement | undefined, tag: number): Uint8Array {
  if (element === undefined) throw new DerError(`tag ${tag} is missing`, 0)
  if (element.tag !== tag) throw new DerError(`tag ${element.tag} where ${tag} belongs`, 0)
  return element.content
}

/** Dotted text of an OBJECT IDENTIFIER's content. */
export function oidText(content: Uint8Array): string {
  const arcs: number[] = []
  let arc = 0
  let open = false
  for (const value of content) {
    if (!open && value === 0x80) throw new DerError('object identifier is not minimal', 0)
    arc = arc * 128 + (value & 0x7f)
    if (!Number.isSafeInteger(arc)) throw new DerError('object identifier is too large', 0)
    open = (value & 0x80) !== 0
    if (open) continue
    arcs.push(arc)
    arc = 0
  }
  const [first, ...rest] = arcs
  if (open || first === undefined) throw new DerError('object identifier is cut short', 0)
  const top = Math.min(2, Math.floor(first / 40))
  return [top, first - top * 40, ...rest].join('.')
}

const UTC_TIME = 0x17
const GENERALIZED_TIME = 0x18

/** Milliseconds of a UTCTime or GeneralizedTime as RFC 5280 4.1.2.5 allows them: in Z, no fractions. */
export function timeMs(element: DerElement | undefined): number {
  const text = element === undefined ? '' : latin1(element.content)
  const short = element?.tag === UTC_TIME && /^[0-9]{12}Z$/.test(text)
  const long = element?.tag === GENERALIZED_TIME && /^[0-9]{14}Z$/.test(text)
  if (!short && !long) throw new DerError('malformed time', 0)
  const full = short ? `${Number(text.slice(0, 2)) >= 50 ? '19' : '20'}${text}` : text
  const part = (from: number, to: number) => full.slice(from, to)
  const date = `${part(0, 4)}-${part(4, 6)}-${part(6, 8)}`
  const ms = Date.parse(`${date}T${part(8, 10)}:${part(10, 12)}:${part(12, 14)}Z`)
  if (Number.isNaN(ms)) throw new DerError('malformed time', 0)
  return ms
}

export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

function octet(bytes: Uint8Array, at: number): number {
  const value = bytes[at]
  if (value === undefined) throw new DerError('element is cut short', at)
  return value
}
