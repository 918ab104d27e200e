// The workloads that share their node's address, by that address: where several are, only the port
// tells which one is meant.
import type { PersistentMap } from '../base/persistent-map.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'

type Index = ReadonlyMap<string, readonly TableWorkload[]>

/** Made once for each version of the workloads, when the first connection asks. */
const INDEXES = new WeakMap<PersistentMap<TableWorkload>, Index>()

/** Those of the mesh's own network, in the order of their uids. */
export function hostNetworkAt(tables: Tables, ip: string): readonly TableWorkload[] {
  let index = INDEXES.get(tables.workloads)
  if (index === undefined) {
    index = indexOf(tables.workloads)
    INDEXES.set(tables.workloads, index)
  }
  const found = index.get(ip) ?? []
  return found.filter(({ network }) => network === tables.mesh.network)
}

/** Whether a service has this port of the workload as its target. */
export function servesAt(workload: TableWorkload, port: number): boolean {
  for (const pairs of Object.values(workload.services)) {
    if (pairs.some(({ targetPort }) => targetPort === port)) return true
  }
  return false
}

function indexOf(workloads: PersistentMap<TableWorkload>): Index {
  const index = new Map<string, TableWorkload[]>()
  for (const workload of workloads.values()) {
    if (!workload.hostNetwork) continue
    for (const ip of workload.addresses) {
      const there = index.get(ip)
      if (there === undefined) index.set(ip, [workload])
      else there.push(workload)
    }
  }
  for (const there of index.values()) there.sort((a, b) => (a.uid < b.uid ? -1 : 1))
  return index
}
