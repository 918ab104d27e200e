// Ends, after the grace that the mesh gives, what is older than a workload's enrolment.
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import type { Datapath } from '../kernel/datapath.ts'
import type { TableWorkload } from '../model/tables.ts'

export interface InheritedParts {
  readonly datapath: Datapath
  readonly clock: Clock
  readonly log: Log
}

/** Under STRICT at once. `isEnrolled` is asked when the time has come. */
export function endInheritedLater(
  { datapath, clock, log }: InheritedParts,
  workload: TableWorkload,
  enrolGraceMs: number,
  isEnrolled: () => boolean,
): void {
  clock.after(workload.peer.mode === 'strict' ? 0 : enrolGraceMs, () => {
    if (!isEnrolled()) return
    datapath.endInherited(workload.uid).then(
      (ended) => {
        if (ended > 0) log.info('enrolment.inherited-ended', { workload: workload.uid, ended })
      },
      (error) => log.warn('enrolment.inherited-failed', { error: errorText(error) }),
    )
  })
}
