// One object of a file -> one typed resource, or what is wrong with it.
import { checkAnnotations } from './annotations.ts'
import { didYouMean } from './closest.ts'
import { type FieldPath, formatPath, type Issue, type Report } from './issue.ts'
import { type CheckedKind, checkedKind, groupOf, KINDS_NOT_HONOURED } from './kinds.ts'
import type { PositionOf } from './positions.ts'
import { type AnyResource, KINDS, resourceKey } from './resource.ts'
import type { RawMetadata, RawObject } from './schema.ts'

/** An object and where it stands: `base` leads to it from the root of its document. */
export interface ObjectInFile {
  readonly file: string
  readonly value: unknown
  readonly base: FieldPath
  readonly positionOf: PositionOf
}

export interface ParsedResource {
  /** Undefined when it has errors, or is of a kind that Weft does not read. */
  readonly resource?: AnyResource
  readonly issues: readonly Issue[]
}

export function parseResource(at: ObjectInFile): ParsedResource {
  const issues: Issue[] = []
  const subject = subjectOf(at.value)
  const add = (
    severity: Issue['severity'],
    path: FieldPath,
    where: 'key' | 'value',
    message: string,
  ): void => {
    const place = at.positionOf([...at.base, ...path], where)
    issues.push({ severity, file: at.file, ...place, ...subject, path: formatPath(path), message })
  }
  const report: Report = (severity, path, message) => add(severity, path, 'value', message)
  const object = objectOf(at.value, report)
  const checked = object === undefined ? undefined : kindOf(object, report)
  if (object === undefined || checked === undefined) return { issues }

  const { definition, validate } = checked
  const clean = definition.nullMeansAbsent
    ? (withoutNulls(object) as RawObject)
    : { ...object, metadata: withoutNulls(object.metadata) }
  for (const finding of validate(clean)) {
    add(finding.severity, finding.path, finding.at, finding.message)
  }
  if (issues.some(({ severity }) => severity === 'error')) return { issues }
  const resource = typed(checked, clean, at, report)
  return issues.some(({ severity }) => severity === 'error') ? { issues } : { resource, issues }
}

function typed(
  { definition }: CheckedKind,
  object: RawObject,
  at: ObjectInFile,
  report: Report,
): AnyResource {
  const written = object.metadata as RawMetadata
  if (definition.scope === 'cluster' && written.namespace !== undefined) {
    report('warning', ['metadata', 'namespace'], `ignored: a ${definition.kind} has no namespace`)
  }
  const namespace = definition.scope === 'cluster' ? '' : (written.namespace ?? 'default')
  const metadata = { ...written, namespace }
  const annotations = metadata.annotations ?? {}
  checkAnnotations(definition.kind, annotations, report)
  const place = at.positionOf(at.base, 'value')
  const createdMs = Date.parse(metadata.creationTimestamp ?? '')
  return {
    apiVersion: String(object.apiVersion),
    kind: definition.kind,
    name: metadata.name,
    namespace,
    labels: metadata.labels ?? {},
    annotations,
    createdMs: Number.isNaN(createdMs) ? 0 : createdMs,
    origin: { file: at.file, ...place },
    spec: definition.parse(object, metadata, report),
  } as AnyResource
}

function objectOf(value: unknown, report: Report): RawObject | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    report('error', [], 'expected a resource with apiVersion, kind and metadata')
    return undefined
  }
  const object = value as RawObject
  let complete = true
  for (const field of ['apiVersion', 'kind']) {
    if (typeof object[field] === 'string') continue
    const found = object[field] === undefined ? 'is missing; add it' : 'must be a text'
    report('error', object[field] === undefined ? [] : [field], `"${field}" ${found}`)
    complete = false
  }
  return complete ? object : undefined
}

/** Groups in which an unknown kind is an error. */
const CLOSED_GROUPS = ['security.istio.io', 'weft.dev']

/** Undefined for kinds that are ignored or wrong; `report` has been told which. */
function kindOf(object: RawObject, report: Report): CheckedKind | undefined {
  const kind = String(object.kind)
  const apiVersion = String(object.apiVersion)
  const { group, version } = groupOf(apiVersion)
  const checked = checkedKind(kind)
  if (checked === undefined) {
    const why = KINDS_NOT_HONOURED[`${group}/${kind}`]
    const message =
      why === undefined
        ? `kind ${kind} of ${apiVersion} is not known and not read${didYouMean(kind, KINDS)}`
        : `kind ${kind} is not honoured yet, ignored: ${why}`
    // A mistyped restriction must not be read over: it would allow what it was meant to forbid.
    const ours = why === undefined && CLOSED_GROUPS.includes(group)
    report(ours ? 'error' : 'warning', ['kind'], message)
    return undefined
  }
  const { definition } = checked
  const expected = definition.versions
    .map((name) => (definition.group === '' ? name : `${definition.group}/${name}`))
    .join(' or ')
  if (group !== definition.group || !definition.versions.includes(version)) {
    const message = `expected ${expected} for a ${kind}, found "${apiVersion}"`
    report('error', ['apiVersion'], message)
    return undefined
  }
  return checked
}

/** What the issues of an object are told to be about, as far as it can be read. */
function subjectOf(value: unknown): { kind: string; name: string } {
  const object = (value ?? {}) as RawObject
  const metadata = (object.metadata ?? {}) as RawObject
  const name = typeof metadata.name === 'string' ? metadata.name : ''
  const kind = typeof object.kind === 'string' ? object.kind : ''
  const cluster = checkedKind(kind)?.definition.scope === 'cluster'
  const written = metadata.namespace
  const namespace = cluster ? '' : typeof written === 'string' ? written : 'default'
  return { kind, name: name === '' ? '' : resourceKey({ namespace, name }) }
}

/** `field: null` is an absent field; nulls in lists stay and are found by the schema. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, field]) => field !== null)
      .map(([name, field]) => [name, withoutNulls(field)]),
  )
}
