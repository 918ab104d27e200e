// A world: every resource the mesh is told of, by kind, whatever files or servers they came from.
import { type AnyResource, compareText, KINDS, type Kind, type Resource } from './resource.ts'

/** Every resource, by kind, each list sorted by namespace and name. */
export type World = { readonly [K in Kind]: readonly Resource<K>[] }

/** The same resources give the same world, in whatever order files were read. */
export function worldOf(resources: Iterable<AnyResource>): World {
  const lists = new Map<Kind, AnyResource[]>(KINDS.map((kind) => [kind, []]))
  for (const resource of resources) lists.get(resource.kind)?.push(resource)
  for (const list of lists.values()) list.sort(byPlaceInWorld)
  return Object.freeze(Object.fromEntries(lists)) as unknown as World
}

export const EMPTY_WORLD: World = worldOf([])

function byPlaceInWorld(a: AnyResource, b: AnyResource): number {
  return (
    compareText(a.namespace, b.namespace) ||
    compareText(a.name, b.name) ||
    compareText(a.origin.file, b.origin.file) ||
    a.origin.line - b.origin.line
  )
}
