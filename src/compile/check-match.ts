// Workloads that are to be found by a match, and never can be.
import { ANNOTATION } from '../api/annotations.ts'
import { formatPath, type Issue } from '../api/issue.ts'
import { issueAt } from '../api/resource.ts'
import type { WorkloadDraft } from './workload-draft.ts'

const PATH = formatPath(['metadata', 'annotations', ANNOTATION.match])

/** A Pod that has no node yet gets one; a WorkloadEntry must say it. */
export function checkMatches(drafts: readonly WorkloadDraft[]): Issue[] {
  return drafts
    .filter(({ base, source }) => {
      const isFound = base.match?.kind === 'cgroup' || base.match?.kind === 'container'
      return isFound && source.kind === 'WorkloadEntry' && base.node === ''
    })
    .map(({ source }) => {
      const message = `needs to know its node; add the annotation ${ANNOTATION.node}: NODE beside it`
      return issueAt(source, 'error', PATH, message)
    })
}
