// One line of text for one issue, in the form compilers use, so that editors can jump to it.
import type { Issue } from './issue.ts'

/** `shop.yaml:12:7: error: AuthorizationPolicy shop/allow: spec.rules[0].from: expected ...`. */
export function formatIssue(issue: Issue): string {
  const place = issue.line === 0 ? issue.file : `${issue.file}:${issue.line}:${issue.column}`
  const subject = [issue.kind, issue.name].filter((part) => part !== '').join(' ')
  const parts = [place, issue.severity, subject, issue.path, issue.message]
  return parts.filter((part) => part !== '').join(': ')
}
