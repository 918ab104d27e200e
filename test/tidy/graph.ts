// The graph of imports between the project's files, types included, and its cycles.
import { posix } from 'node:path'
import { importsOf } from './source-text.ts'
import type { SourceFile } from './tree.ts'

export type Graph = ReadonlyMap<string, readonly string[]>

export function importGraph(files: readonly SourceFile[]): Graph {
  return new Map(
    files.map((file) => {
      const targets = importsOf(file.text)
        .filter(({ specifier }) => specifier.startsWith('.'))
        .map(({ specifier }) => posix.join(posix.dirname(file.path), specifier))
      return [file.path, [...new Set(targets)]]
    }),
  )
}

/** Groups of files that reach each other (Tarjan's strongly connected components), sorted. */
export function cycles(graph: Graph): string[][] {
  const order = new Map<string, number>()
  const low = new Map<string, number>()
  const stack: string[] = []
  const found: string[][] = []
  const visit = (node: string) => {
    order.set(node, order.size)
    let lowest = order.get(node) ?? 0
    stack.push(node)
    for (const next of graph.get(node) ?? []) {
      if (!graph.has(next)) continue
      if (!order.has(next)) visit(next)
      if (stack.includes(next)) lowest = Math.min(lowest, low.get(next) ?? order.get(next) ?? 0)
    }
    low.set(node, lowest)
    if (lowest !== order.get(node)) return
    const group = stack.splice(stack.indexOf(node))
    const isSelfImport = graph.get(node)?.includes(node) ?? false
    if (group.length > 1 || isSelfImport) found.push(group.sort())
  }
  for (const node of graph.keys()) if (!order.has(node)) visit(node)
  return found.sort()
}
