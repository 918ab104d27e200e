// What is wrong with something a user wrote, and where: the one form in which every check of
// configuration reports, for the log, `weft check` and the admin API.

/** Keys and list positions from the resource's root: `['spec', 'rules', 0, 'from']`. */
export type FieldPath = readonly (string | number)[]

export interface Issue {
  /** An error keeps the file, or the whole world, from coming into force; a warning does not. */
  readonly severity: 'error' | 'warning'
  readonly file: string
  /** Both count from 1; 0 when the place is the file itself. */
  readonly line: number
  readonly column: number
  /** Kind and `namespace/name`, as far as they could be read; '' otherwise. */
  readonly kind: string
  readonly name: string
  /** `spec.rules[0].from`, '' for the resource itself. */
  readonly path: string
  /** What was expected, what was found, and the remedy. */
  readonly message: string
}

/** Where a resource was written. */
export interface Origin {
  readonly file: string
  readonly line: number
  readonly column: number
}

/** How checks of one resource report; the place in the file is found from the path. */
export type Report = (severity: Issue['severity'], path: FieldPath, message: string) => void

const PLAIN_KEY = /^[A-Za-z_][A-Za-z0-9_]*$/

/** `spec.rules[0].from`; keys with dots or slashes are quoted: `metadata.labels["a.b/c"]`. */
export function formatPath(path: FieldPath): string {
  let text = ''
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`
    else if (PLAIN_KEY.test(part)) text += text === '' ? part : `.${part}`
    else text += `[${JSON.stringify(part)}]`
  }
  return text
}

export function hasErrors(issues: readonly Issue[]): boolean {
  return issues.some((issue) => issue.severity === 'error')
}
