// Header lists of `node:http2` as plain text records, pseudo-headers left out.
import type { IncomingHttpHeaders } from 'node:http2'

/** Repeated fields are joined by a comma (RFC 9110 5.3). */
export function plainHeaders(head: IncomingHttpHeaders): Readonly<Record<string, string>> {
  const plain: Record<string, string> = {}
  for (const [name, value] of Object.entries(head)) {
    if (name.startsWith(':') || value === undefined) continue
    plain[name] = Array.isArray(value) ? value.join(', ') : String(value)
  }
  return plain
}
