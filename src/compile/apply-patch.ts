// The worker's side of a change: collects the slices of a version and makes it visible at commit.
import { type Draft, PersistentMap } from '../base/persistent-map.ts'
import { DEFAULT_MESH_SETTINGS } from '../model/mesh-settings.ts'
import type { TableChange, Tables, TablesPatch } from '../model/tables.ts'
import { TABLE_NAMES, type TableName } from './diff.ts'

type Drafts = Partial<Record<TableName, Draft<unknown>>>

export const EMPTY_TABLES: Tables = Object.freeze<Tables>({
  version: 0,
  mesh: DEFAULT_MESH_SETTINGS,
  workloads: PersistentMap.empty(),
  services: PersistentMap.empty(),
  policies: PersistentMap.empty(),
  workloadByIp: PersistentMap.empty(),
  serviceByVip: PersistentMap.empty(),
  serviceByHost: PersistentMap.empty(),
  serviceByRange: PersistentMap.empty(),
})

/** Costs as much as what changes, whatever the size of the tables. */
export class TablesStore {
  #tables: Tables = EMPTY_TABLES
  #pending: { readonly version: number; readonly drafts: Drafts } | undefined

  /** The version in force. */
  get tables(): Tables {
    return this.#tables
  }

  /**
   * The new tables when `patch` commits a version. Slices of a version that was never committed
   * are forgotten when another version begins: the sender starts again from what was committed.
   * Throws when a patch is older than what is in force, which only a defect can bring about.
   */
  receive(patch: TablesPatch): Tables | undefined {
    if (patch.version <= this.#tables.version) {
      throw new Error(`patch ${patch.version} is not newer than ${this.#tables.version}`)
    }
    if (this.#pending?.version !== patch.version) {
      this.#pending = { version: patch.version, drafts: {} }
    }
    const { drafts } = this.#pending
    if (patch.kind === 'slice') {
      for (const change of patch.changes) this.#apply(change, drafts)
      return undefined
    }
    const next: Record<string, unknown> = { ...this.#tables }
    for (const table of TABLE_NAMES) {
      const draft = drafts[table]
      if (draft !== undefined) next[table] = draft.commit()
    }
    this.#pending = undefined
    this.#tables = Object.freeze({
      ...(next as unknown as Tables),
      version: patch.version,
      mesh: patch.mesh,
    })
    return this.#tables
  }

  #apply(change: TableChange, drafts: Drafts): void {
    const held = drafts[change.table]
    const draft = held ?? (this.#tables[change.table].draft() as Draft<unknown>)
    if (held === undefined) drafts[change.table] = draft
    if (change.value === undefined) draft.delete(change.key)
    else draft.set(change.key, change.value)
  }
}
