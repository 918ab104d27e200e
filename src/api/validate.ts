// Compares an object with its kind's schema and says in words what is wrong with it.
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import { CHECKS, type CheckName } from './checks.ts'
import { didYouMean } from './closest.ts'
import type { FieldPath } from './issue.ts'
import type { Schema } from './schema.ts'

export interface Finding {
  readonly severity: 'error' | 'warning'
  readonly path: FieldPath
  /** Whether the place is the field's name rather than its value. */
  readonly at: 'key' | 'value'
  readonly message: string
}

export type Validator = (value: unknown) => Finding[]

/** Compiles a schema once; the validator lists everything that is wrong, not the first. */
export function compileSchema(schema: Schema, unknownFields: 'error' | 'warning'): Validator {
  const ajv = new Ajv({ allErrors: true, verbose: true, strict: true, allowUnionTypes: true })
  ajv.addKeyword({
    keyword: 'must',
    schemaType: 'string',
    errors: false,
    validate: (name: CheckName, value: unknown) => CHECKS[name].test(value),
  })
  for (const keyword of ['notHonoured', 'refused']) {
    ajv.addKeyword({ keyword, schemaType: 'string', errors: false, validate: () => false })
  }
  const validate: ValidateFunction = ajv.compile(schema)
  return (value) => {
    if (validate(value)) return []
    // "if" only says that one of its branches failed, which has said so itself.
    const errors = (validate.errors ?? []).filter(({ keyword }) => keyword !== 'if')
    return errors.map((error) => findingOf(error, value, unknownFields))
  }
}

function findingOf(error: ErrorObject, root: unknown, unknownFields: 'error' | 'warning'): Finding {
  const path = pathOf(error.instancePath, root)
  switch (error.keyword) {
    case 'additionalProperties': {
      const field = String(error.params.additionalProperty)
      const known = Object.keys((error.parentSchema?.properties as object | undefined) ?? {})
      const remedy = didYouMean(field, known) || `; the fields here are ${list(known)}`
      const effect = unknownFields === 'error' ? 'unknown field' : 'unknown field, ignored'
      const message = `${effect}${remedy}`
      return { severity: unknownFields, path: [...path, field], at: 'key', message }
    }
    case 'notHonoured':
      return { severity: 'warning', path, at: 'key', message: `ignored: ${error.schema}` }
    case 'refused':
      return { severity: 'error', path, at: 'key', message: String(error.schema) }
    case 'required': {
      const field = String(error.params.missingProperty)
      return { severity: 'error', path, at: 'value', message: `"${field}" is missing; add it` }
    }
    default:
      return { severity: 'error', path, at: 'value', message: valueMessage(error) }
  }
}

function valueMessage(error: ErrorObject): string {
  const found = describe(error.data)
  switch (error.keyword) {
    case 'must':
      return `expected ${CHECKS[error.schema as CheckName].expected}, found ${found}`
    case 'type':
      return `expected ${typeWords(error.schema)}, found ${found}${quoteHint(error)}`
    case 'enum': {
      const values = (error.schema as readonly unknown[]).map(String)
      const near = typeof error.data === 'string' ? didYouMean(error.data, values) : ''
      return `expected ${values.join(' or ')}, found ${found}${near}`
    }
    case 'minItems':
      return 'expected at least one entry, found an empty list; fill it or leave the field out'
    case 'maxItems':
      return `expected at most ${error.params.limit} entries, found ${lengthOf(error.data)}`
    case 'minProperties':
      return 'expected at least one field, found none; fill it or leave it out'
    default:
      return `${error.message ?? 'not valid'}, found ${found}`
  }
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  string: 'a text',
  boolean: 'true or false',
  object: 'a map of fields',
  array: 'a list',
  number: 'a number',
  integer: 'a whole number',
}

function typeWords(schema: unknown): string {
  const types = Array.isArray(schema) ? schema : [schema]
  return types.map((type) => TYPE_WORDS[String(type)] ?? String(type)).join(' or ')
}

function quoteHint(error: ErrorObject): string {
  const scalar = typeof error.data === 'number' || typeof error.data === 'boolean'
  return error.schema === 'string' && scalar ? `; put it in quotes: "${error.data}"` : ''
}

function lengthOf(value: unknown): number {
  return Array.isArray(value) ? value.length : 0
}

/** A value in a few words, cut short: configuration may be hostile. */
function describe(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list'
  if (typeof value === 'object') return 'a map of fields'
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

function list(names: readonly string[]): string {
  return names.length > 12 ? `${names.slice(0, 12).join(', ')} ...` : names.join(', ')
}

/** A JSON pointer as a path; list positions become numbers. */
function pathOf(pointer: string, root: unknown): FieldPath {
  const path: (string | number)[] = []
  let value = root
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    path.push(Array.isArray(value) ? Number(key) : key)
    value = (value as Readonly<Record<string, unknown>> | undefined)?.[key]
  }
  return path
}
