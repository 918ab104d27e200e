// The identity of a workload, made once: a connection asks for it several times.
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
