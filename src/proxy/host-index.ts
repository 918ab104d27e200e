// The workloads that share their node's address, by that address, where only the port tells which
// one is meant, and by identity.
import type { PersistentMap } from '../base/persistent-map.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'
import { identityOf } from './identity-of.ts'

interface Index {
  readonly byIp: ReadonlyMap<string, readonly TableWorkload[]>
  readonly byIdentity: ReadonlyMap<string, readonly TableWorkload[]>
}

/** Made once for each version of the workloads, when the first connection asks. */
const INDEXES = new WeakMap<PersistentMap<TableWorkload>, Index>()

/** Those of the mesh's own network, in the order of their uids. */
export function hostNetworkAt(tables: Tables, ip: string): readonly TableWorkload[] {
  return ofOurNetwork(tables, indexOf(tables.workloads).byIp.get(ip))
}

/** Those with this identity, likewise. */
export function hostNetworkOf(tables: Tables, identity: string): readonly TableWorkload[] {
  return ofOurNetwork(tables, indexOf(tables.workloads).byIdentity.get(identity))
}

/** Whether the configuration says that the workload serves this port: itself, or by a service. */
export function servesAt(workload: TableWorkload, port: number): boolean {
  if (workload.match?.ports?.includes(port) === true) return true
  for (const pairs of Object.values(workload.services)) {
    if (pairs.some(({ targetPort }) => targetPort === port)) return true
  }
  return false
}

function ofOurNetwork(
  { mesh }: Tables,
  found: readonly TableWorkload[] = [],
): readonly TableWorkload[] {
  return found.filter(({ network }) => network === mesh.network)
}

function indexOf(workloads: PersistentMap<TableWorkload>): Index {
  let index = INDEXES.get(workloads)
  if (index !== undefined) return index
  const shared = [...workloads.values()].filter(({ hostNetwork }) => hostNetwork)
  shared.sort((a, b) => (a.uid < b.uid ? -1 : 1))
  index = {
    byIp: grouped(shared, ({ addresses }) => addresses),
    byIdentity: grouped(shared, (workload) => [identityOf(workload)]),
  }
  INDEXES.set(workloads, index)
  return index
}

function grouped(
  workloads: readonly TableWorkload[],
  keysOf: (workload: TableWorkload) => readonly string[],
): ReadonlyMap<string, readonly TableWorkload[]> {
  const groups = new Map<string, TableWorkload[]>()
  for (const workload of workloads) {
    for (const key of keysOf(workload)) {
      const group = groups.get(key)
      if (group === undefined) groups.set(key, [workload])
      else group.push(workload)
    }
  }
  return groups
}
