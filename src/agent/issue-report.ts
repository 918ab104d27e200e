// Tells the operator what is wrong with the configuration: each issue once, until it is mended or
// changes, and that it was mended.
import type { Issue } from '../api/issue.ts'
import { formatIssue } from '../api/print-issue.ts'
import type { Log } from '../base/log.ts'

export class IssueReport {
  readonly #log: Log
  /** By stage: what is wrong, and how much. */
  readonly #standing = new Map<string, ReadonlyMap<string, Issue['severity']>>()

  constructor(log: Log) {
    this.#log = log
  }

  /** What is wrong now, errors first. */
  standing(): readonly { readonly severity: Issue['severity']; readonly text: string }[] {
    const all = [...this.#standing.values()].flatMap((stage) =>
      [...stage].map(([text, severity]) => ({ severity, text })),
    )
    const rank = ({ severity }: (typeof all)[number]): number => (severity === 'error' ? 0 : 1)
    return all.sort((a, b) => rank(a) - rank(b))
  }

  /** `stage` names who found them; each call tells all that stand in that stage. */
  report(stage: string, issues: readonly Issue[]): void {
    const before = this.#standing.get(stage) ?? new Map<string, Issue['severity']>()
    const now = new Map<string, Issue['severity']>()
    for (const issue of issues) {
      const text = formatIssue(issue)
      now.set(text, issue.severity)
      if (before.has(text)) continue
      if (issue.severity === 'error') this.#log.error('config.issue', { issue: text })
      else this.#log.warn('config.issue', { issue: text })
    }
    for (const text of before.keys()) {
      if (!now.has(text)) this.#log.info('config.issue-mended', { issue: text })
    }
    this.#standing.set(stage, now)
  }
}
