// Completes the records of direct connections, in which the kernel names workloads by uid, with
// what the tables know: names, service, and the identities that the kernel attested.
import type { AccessEntry } from '../model/access-entry.ts'
import type { Tables } from '../model/tables.ts'
import { identityOf } from '../model/workload.ts'

type Source = AccessEntry['source']
type Destination = AccessEntry['destination']

/** A workload that has left the tables meanwhile keeps its uid as its name. */
export function completeDirectEntry(entry: AccessEntry, tables: Tables | undefined): AccessEntry {
  if (tables === undefined) return entry
  return {
    ...entry,
    source: withWorkload(entry.source, tables),
    destination: withService(withWorkload(entry.destination, tables), tables),
  }
}

function withWorkload<T extends Source | Destination>(side: T, tables: Tables): T {
  const workload = side.workload === undefined ? undefined : tables.workloads.get(side.workload)
  if (workload === undefined) return side
  return {
    ...side,
    workload: workload.name,
    namespace: workload.namespace,
    identity: identityOf(workload),
  }
}

function withService(destination: Destination, tables: Tables): Destination {
  const key = tables.serviceByVip.get(destination.ip)
  const service = key === undefined ? undefined : tables.services.get(key)
  return service === undefined ? destination : { ...destination, service: service.hostname }
}
