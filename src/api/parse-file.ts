// The text of one configuration file -> its resources, or every issue in it. Several documents,
// `kind: List` and JSON are all read; nothing is ever fetched, executed or included.
import { type Document, isMap, LineCounter, parseAllDocuments } from 'yaml'
import { LIMITS } from '../model/limits.ts'
import { hasErrors, type Issue } from './issue.ts'
import { parseResource } from './parse-resource.ts'
import { positionsIn } from './positions.ts'
import { type AnyResource, placeOf, resourceKey } from './resource.ts'

export interface ParsedFile {
  readonly file: string
  /** Empty when there is any error: a file comes into force whole or not at all. */
  readonly resources: readonly AnyResource[]
  readonly issues: readonly Issue[]
  /**
   * Kinds the file speaks of, broken ones included; undefined when it cannot be read well enough
   * to tell.
   */
  readonly kinds: ReadonlySet<string> | undefined
}

/** An issue about a file as a whole. */
export function fileIssue(file: string, message: string): Issue {
  return { severity: 'error', file, line: 0, column: 0, kind: '', name: '', path: '', message }
}

export function unreadableFile(file: string, message: string): ParsedFile {
  return { file, resources: [], issues: [fileIssue(file, message)], kinds: undefined }
}

/** What a file of `bytes` bytes is refused with, before it is read; undefined if it may be. */
export function refusalOfSize(bytes: number): string | undefined {
  if (bytes <= LIMITS.configFileBytesMax) return undefined
  const mebibytes = (count: number): string => `${(count / 1_048_576).toFixed(1)} MiB`
  const limit = mebibytes(LIMITS.configFileBytesMax)
  return `is ${mebibytes(bytes)} large, more than the ${limit} one file may have; split it`
}

export function parseFile(file: string, text: string): ParsedFile {
  const refusal = refusalOfSize(text.length)
  if (refusal !== undefined) return unreadableFile(file, refusal)
  const lines = new LineCounter()
  let documents: readonly Document[]
  try {
    const parsed = parseAllDocuments(text, {
      lineCounter: lines,
      prettyErrors: false,
      uniqueKeys: true,
    })
    documents = Array.isArray(parsed) ? (parsed as Document[]) : []
  } catch (error) {
    return unreadableFile(file, `cannot be read as YAML: ${reasonOf(error)}`)
  }
  const broken = documents.flatMap((document) => syntaxIssues(file, document, lines))
  if (hasErrors(broken)) {
    return { file, resources: [], issues: inOrder(file, broken), kinds: undefined }
  }

  const issues: Issue[] = [...broken]
  const resources: AnyResource[] = []
  const kinds = new Set<string>()
  for (const document of documents) {
    const values = objectsOf(file, document, lines)
    if (!values.ok) return unreadableFile(file, values.error)
    for (const object of values.value) {
      const parsed = parseResource(object)
      issues.push(...parsed.issues)
      if (parsed.resource !== undefined) resources.push(parsed.resource)
      kinds.add(String((object.value as { kind?: unknown } | null)?.kind))
    }
  }
  issues.push(...duplicatesIn(resources))
  const good = hasErrors(issues) ? [] : resources
  return { file, resources: good, issues: inOrder(file, issues), kinds }
}

/** By place; errors first where there are too many to tell them all. */
function inOrder(file: string, issues: readonly Issue[]): Issue[] {
  const byPlace = (a: Issue, b: Issue): number => a.line - b.line || a.column - b.column
  if (issues.length <= LIMITS.issuesPerFileMax) return [...issues].sort(byPlace)
  const errorsFirst = issues.toSorted((a, b) => rankOf(a) - rankOf(b) || byPlace(a, b))
  const told = errorsFirst.slice(0, LIMITS.issuesPerFileMax)
  const { severity } = errorsFirst[LIMITS.issuesPerFileMax] ?? { severity: 'warning' }
  const rest = fileIssue(file, `has ${issues.length - told.length} more issues like these`)
  return [...told, { ...rest, severity }]
}

const rankOf = ({ severity }: Issue): number => (severity === 'error' ? 0 : 1)

const TOO_DEEP = 'it is nested too deeply'

function syntaxIssues(file: string, document: Document, lines: LineCounter): Issue[] {
  const all = [
    ...document.errors.map((problem) => ({ severity: 'error' as const, problem })),
    ...document.warnings.map((problem) => ({ severity: 'warning' as const, problem })),
  ]
  const tooDeep = document.errors.some(({ message }) => message.includes('call stack'))
  if (tooDeep) return [fileIssue(file, `cannot be read as YAML: ${TOO_DEEP}`)]
  return all.map(({ severity, problem }) => {
    const { line, col } = lines.linePos(problem.pos[0])
    const place = { file, line: Math.max(1, line), column: Math.max(1, col) }
    return { severity, ...place, kind: '', name: '', path: '', message: problem.message }
  })
}

type ObjectsResult =
  | { readonly ok: true; readonly value: readonly Parameters<typeof parseResource>[0][] }
  | { readonly ok: false; readonly error: string }

/** The objects of a document: itself, or the items of a `List`. Empty documents have none. */
function objectsOf(file: string, document: Document, lines: LineCounter): ObjectsResult {
  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: LIMITS.yamlAliasesMax })
  } catch (error) {
    return { ok: false, error: `cannot be read as YAML: ${reasonOf(error)}` }
  }
  if (value === null || value === undefined) return { ok: true, value: [] }
  const at = { file, positionOf: positionsIn(document, lines) }
  const items = (value as { items?: unknown }).items
  const kind = (value as { kind?: unknown }).kind
  const isList = typeof kind === 'string' && kind.endsWith('List') && Array.isArray(items)
  if (!isList || !isMap(document.contents)) return { ok: true, value: [{ ...at, value, base: [] }] }
  const objects = (items as unknown[]).map((item, index) => ({
    ...at,
    value: item,
    base: ['items', index],
  }))
  return { ok: true, value: objects }
}

function duplicatesIn(resources: readonly AnyResource[]): Issue[] {
  const first = new Map<string, AnyResource>()
  return resources.flatMap((resource) => {
    const key = `${resource.kind} ${resourceKey(resource)}`
    const earlier = first.get(key)
    if (earlier === undefined) {
      first.set(key, resource)
      return []
    }
    const message = `is written a second time; the first is at ${placeOf(earlier.origin)}`
    const { kind, origin } = resource
    const name = resourceKey(resource)
    return [{ severity: 'error' as const, ...origin, kind, name, path: '', message }]
  })
}

/** The yaml library refuses alias bombs with a ReferenceError, and deep nesting overflows. */
function reasonOf(error: unknown): string {
  if (error instanceof RangeError) return TOO_DEEP
  const text = error instanceof Error ? error.message : String(error)
  return /alias/i.test(text) ? `more than ${LIMITS.yamlAliasesMax} alias expansions` : text
}
