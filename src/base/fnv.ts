// FNV-1a over UTF-16 code units: where a name falls in a table or a pool. No protection against
// somebody who wants names to collide.

/** 32 bits, unsigned. Source: draft-eastlake-fnv, 32-bit FNV-1a. */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return hash >>> 0
}
