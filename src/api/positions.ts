// Where in a file a field stands: walks the nodes of a parsed YAML document along a path.
import { type Document, isAlias, isMap, isScalar, isSeq, type LineCounter, type Node } from 'yaml'
import type { FieldPath } from './issue.ts'

export interface Position {
  readonly line: number
  readonly column: number
}

/** `key` is where the field's name stands, `value` where its value does. */
export type PositionOf = (path: FieldPath, at: 'key' | 'value') => Position

/** Positions in `document`; a path that leads nowhere gives the last place on its way. */
export function positionsIn(document: Document, lines: LineCounter): PositionOf {
  return (path, at) => {
    let node: unknown = document.contents
    let offset = startOf(node) ?? 0
    for (const [index, part] of path.entries()) {
      const step = stepInto(resolve(node, document), part)
      if (step === undefined) break
      const last = index === path.length - 1
      node = step.value
      offset = (last && at === 'key' ? startOf(step.key) : startOf(node)) ?? offset
    }
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
}

function resolve(node: unknown, document: Document): unknown {
  return isAlias(node) ? node.resolve(document) : node
}

function stepInto(
  node: unknown,
  part: string | number,
): { key: unknown; value: unknown } | undefined {
  if (isSeq(node)) {
    const value = node.items[Number(part)]
    return value === undefined ? undefined : { key: value, value }
  }
  if (!isMap(node)) return undefined
  for (const { key, value } of node.items) {
    const name = isScalar(key) ? String(key.value) : undefined
    if (name === String(part)) return { key, value: value ?? key }
  }
  return undefined
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0]
}
