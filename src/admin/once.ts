// Every connection once: a tunnel between two workloads is seen at both of its ends, by one agent
// or by two. What its source tells is shown, and the far end's view of the same is left out.
import type { FlowLabels } from '../model/flow.ts'

/** `told`: rows in which to look for the sources' views; by default the rows themselves. */
export function onceEach<T extends FlowLabels>(
  rows: readonly T[],
  told: readonly FlowLabels[] = rows,
): readonly T[] {
  const pairs = new Set(told.filter((row) => row.direction === 'outbound').flatMap(pairOf))
  return rows.filter(
    (row) => row.direction === 'outbound' || !pairOf(row).some((pair) => pairs.has(pair)),
  )
}

/** The two workloads of a tunnel, when both are known; what is not a tunnel has one view only. */
function pairOf({ path, source, destination }: FlowLabels): readonly string[] {
  if (path !== 'tunnel' || source.uid === undefined || destination.uid === undefined) return []
  return [`${source.uid} ${destination.uid}`]
}
