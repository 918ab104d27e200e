// The identity of a workload and its server name, made once: a connection asks for them several
// times.
import { serverNameOf as nameOf } from '../identity/present/server-name.ts'
import type { SpiffeId } from '../model/spiffe-id.ts'
import { identityOf as make, type Workload } from '../model/workload.ts'

const HELD = new WeakMap<Workload, SpiffeId>()

/** As `identityOf` of the model; tables are never changed in place, so it can be kept. */
export function identityOf(workload: Workload): SpiffeId {
  let id = HELD.get(workload)
  if (id === undefined) {
    id = make(workload)
    HELD.set(workload, id)
  }
  return id
}

const NAMES = new WeakMap<Workload, string>()

/** What a tunnel asks for at an address that several workloads may share. */
export function serverNameOf(workload: Workload): string {
  let name = NAMES.get(workload)
  if (name === undefined) {
    name = nameOf(identityOf(workload))
    NAMES.set(workload, name)
  }
  return name
}
