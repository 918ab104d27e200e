// The vocabulary in which kinds say what they look like: JSON Schema with three words of our own,
// `must` (a check by name), `notHonoured` (a warning) and `refused` (an error).
import type { CheckName } from './checks.ts'
import type { Report } from './issue.ts'

export type Schema = boolean | { readonly [keyword: string]: unknown }
export type Properties = Readonly<Record<string, Schema>>

/** A validated object as YAML gave it; each kind casts it once to the shape its schema assures. */
export type RawObject = Readonly<Record<string, unknown>>

export interface RawMetadata {
  readonly name: string
  readonly namespace?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly creationTimestamp?: string
  readonly deletionTimestamp?: string
  readonly ownerReferences?: readonly { readonly kind: string; readonly name: string }[]
}

/** What a kind is called, what it looks like, and how it becomes a typed value. */
export interface KindDefinition<Kind extends string, Spec> {
  readonly kind: Kind
  /** '' for the core group of Kubernetes. */
  readonly group: string
  readonly versions: readonly string[]
  readonly scope: 'namespace' | 'cluster'
  /** Fields beside apiVersion, kind and metadata. */
  readonly fields: Properties
  readonly required?: readonly string[]
  /**
   * `error` for what restricts access: a restriction that is not understood must not be taken for
   * none. Elsewhere a warning.
   */
  readonly unknownFields: 'error' | 'warning'
  /** Whether `field: null` means that the field is absent, as in Kubernetes' own kinds. */
  readonly nullMeansAbsent: boolean
  /** Called only with what the schema accepted; further errors go to `report`. */
  parse(object: RawObject, metadata: RawMetadata, report: Report): Spec
}

export const TEXT: Schema = { type: 'string' }
export const BOOLEAN: Schema = { type: 'boolean' }
export const TEXT_MAP: Schema = { type: 'object', additionalProperties: { type: 'string' } }

export function object(properties: Properties, required: readonly string[] = []): Schema {
  return { type: 'object', properties, required, additionalProperties: false }
}

export function listOf(items: Schema, limits: { minItems?: number; maxItems?: number } = {}) {
  return { type: 'array', items, ...limits }
}

export function mapOf(values: Schema): Schema {
  return { type: 'object', additionalProperties: values }
}

export function oneOf(...values: readonly string[]): Schema {
  return { enum: values }
}

export function must(check: CheckName): Schema {
  return { must: check }
}

/** A field Istio or Kubernetes has and Weft reads over; `why` completes "FIELD is ignored: ...". */
export function notHonoured(why: string): Schema {
  return { notHonoured: why }
}

/** A field that cannot be read over without changing what is allowed; `why` is a sentence. */
export function refused(why: string): Schema {
  return { refused: why }
}

/** Fields that exist and mean nothing to a mesh. */
export function irrelevant(names: string): Properties {
  return Object.fromEntries(
    names
      .split(/\s+/)
      .filter((name) => name !== '')
      .map((name) => [name, true]),
  )
}
