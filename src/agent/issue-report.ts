// Tells the operator what is wrong with the configuration: each issue once, until it is mended or
// changes, and that it was mended.
import type { Issue } from '../api/issue.ts'
import { formatIssue } from '../api/print-issue.ts'
import type { Log } from '../base/log.ts'

export class IssueReport {
  readonly #log: Log
  readonly #standing = new Map<string, ReadonlySet<string>>()

  constructor(log: Log) {
    this.#log = log
  }

  /** `stage` names who found them; each call tells all that stand in that stage. */
  report(stage: string, issues: readonly Issue[]): void {
    const before = this.#standing.get(stage) ?? new Set<string>()
    const now = new Set<string>()
    for (const issue of issues) {
      const text = formatIssue(issue)
      now.add(text)
      if (before.has(text)) continue
      if (issue.severity === 'error') this.#log.error('config.issue', { issue: text })
      else this.#log.warn('config.issue', { issue: text })
    }
    for (const text of before) {
      if (!now.has(text)) this.#log.info('config.issue-mended', { issue: text })
    }
    this.#standing.set(stage, now)
  }
}
