// The difference between two versions of the tables, and its slices for the workers.
import type { PersistentMap } from '../base/persistent-map.ts'
import { LIMITS } from '../model/limits.ts'
import type { MeshSettings } from '../model/mesh-settings.ts'
import type { TableChange, Tables, TablesPatch } from '../model/tables.ts'
import { sameData } from './freeze.ts'

export const TABLE_NAMES = [
  'policies',
  'workloads',
  'services',
  'workloadByIp',
  'serviceByVip',
  'serviceByHost',
  'serviceByRange',
] as const

export type TableName = (typeof TABLE_NAMES)[number]

/** What turns `before` into `after`; everything when there is no before. */
export function diffTables(before: Tables | undefined, after: Tables): TableChange[] {
  return TABLE_NAMES.flatMap((table) => {
    const old = before?.[table] as PersistentMap<unknown> | undefined
    return diffTable(table, old, after[table] as PersistentMap<unknown>)
  })
}

/** Never empty: the commit alone carries settings, and makes the version visible. */
export function toPatches(
  changes: readonly TableChange[],
  version: number,
  mesh: MeshSettings,
): TablesPatch[] {
  const patches: TablesPatch[] = []
  for (let at = 0; at < changes.length; at += LIMITS.patchSliceEntries) {
    const slice = changes.slice(at, at + LIMITS.patchSliceEntries)
    patches.push({ kind: 'slice', version, changes: slice })
  }
  patches.push({ kind: 'commit', version, mesh })
  return patches
}

function diffTable(
  table: TableName,
  before: PersistentMap<unknown> | undefined,
  after: PersistentMap<unknown>,
): TableChange[] {
  if (before === after) return []
  const changes: TableChange[] = []
  const add = (key: string, value?: unknown): void => {
    const change = value === undefined ? { table, key } : { table, key, value }
    changes.push(change as TableChange)
  }
  if (before !== undefined) for (const [key] of before) if (!after.has(key)) add(key)
  for (const [key, value] of after) if (!sameData(before?.get(key), value)) add(key, value)
  return changes
}
