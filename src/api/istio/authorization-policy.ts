// Istio AuthorizationPolicy, as far as it can be judged at L4. A policy that says more is refused
// whole: half of a restriction is another restriction.
import { formatCidr, parseCidr } from '../../base/cidr.ts'
import {
  EMPTY_MATCH,
  type PolicyAction,
  type PolicyMatch,
  type PolicyRule,
  type ServiceAccountMatch,
  type StringMatch,
} from '../../model/authorization.ts'
import { CHECKS, type CheckName } from '../checks.ts'
import { didYouMean } from '../closest.ts'
import type { FieldPath, Report } from '../issue.ts'
import {
  type KindDefinition,
  listOf,
  must,
  object,
  type Properties,
  refused,
  type Schema,
  TEXT,
  TEXT_MAP,
} from '../schema.ts'

export interface AuthorizationPolicySpec {
  readonly selector?: Readonly<Record<string, string>>
  readonly action: PolicyAction
  readonly rules: readonly PolicyRule[]
}

interface RawRule {
  readonly from?: readonly { readonly source: RawMatch }[]
  readonly to?: readonly { readonly operation: RawMatch }[]
  readonly when?: readonly {
    readonly key: string
    readonly values?: readonly string[]
    readonly notValues?: readonly string[]
  }[]
}

type RawMatch = Readonly<Record<string, readonly string[] | undefined>>

interface RawAuthorizationPolicy {
  readonly spec?: {
    readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> }
    readonly action?: string
    readonly rules?: readonly RawRule[]
  }
}

const L7 = refused('L7 fields are not supported yet; use L4 fields, or remove the policy')

/** A list of values and its negation, `ipBlocks` and `notIpBlocks`. */
function both(name: string, schema: Schema): Properties {
  return { [name]: schema, [`not${name[0]?.toUpperCase()}${name.slice(1)}`]: schema }
}

const values = (item: Schema, maxItems?: number): Schema =>
  listOf(item, { minItems: 1, ...(maxItems === undefined ? {} : { maxItems }) })

const SOURCE = {
  ...(object({
    ...both('principals', values(must('principal'))),
    ...both('namespaces', values(must('nonEmpty'))),
    ...both('serviceAccounts', values(must('serviceAccount'), 16)),
    ...both('ipBlocks', values(must('range'))),
    ...both('remoteIpBlocks', L7),
    ...both('requestPrincipals', L7),
    ...both(
      'trustDomains',
      refused('matching by trust domain is not supported yet; use principals'),
    ),
  }) as object),
  minProperties: 1,
}

const OPERATION = {
  ...(object({
    ...both('ports', values(must('portText'))),
    ...both('hosts', L7),
    ...both('methods', L7),
    ...both('paths', L7),
  }) as object),
  minProperties: 1,
}

const RULE = object({
  from: values(object({ source: SOURCE }, ['source']), 512),
  to: values(object({ operation: OPERATION }, ['operation'])),
  when: values(object({ key: TEXT, values: values(TEXT), notValues: values(TEXT) }, ['key'])),
})

export const AUTHORIZATION_POLICY: KindDefinition<'AuthorizationPolicy', AuthorizationPolicySpec> =
  {
    kind: 'AuthorizationPolicy',
    group: 'security.istio.io',
    versions: ['v1', 'v1beta1'],
    scope: 'namespace',
    fields: {
      spec: object({
        selector: object({ matchLabels: TEXT_MAP }),
        action: TEXT,
        rules: listOf(RULE, { maxItems: 512 }),
        targetRef: refused('"targetRef" is not supported yet; use "selector"'),
        targetRefs: refused('"targetRefs" is not supported yet; use "selector"'),
        provider: refused('external authorization is not supported yet; remove the provider'),
      }),
      status: true,
    },
    unknownFields: 'error',
    nullMeansAbsent: false,
    parse(object, metadata, report) {
      const { spec = {} } = object as unknown as RawAuthorizationPolicy
      const labels = spec.selector?.matchLabels ?? {}
      const namespace = metadata.namespace ?? 'default'
      return {
        ...(Object.keys(labels).length > 0 ? { selector: labels } : {}),
        action: parseAction(spec.action ?? 'ALLOW', report),
        rules: (spec.rules ?? []).map((rule, at) =>
          parseRule(rule, namespace, ['spec', 'rules', at], report),
        ),
      }
    },
  }

function parseAction(word: string, report: Report): PolicyAction {
  if (word === 'ALLOW') return 'allow'
  if (word === 'DENY') return 'deny'
  const known = word === 'CUSTOM' || word === 'AUDIT'
  const found = known ? `${word} is not supported yet` : `found "${word}"`
  report('error', ['spec', 'action'], `expected ALLOW or DENY; ${found}`)
  return 'deny'
}

/** Clauses in the order of istiod: all `from`, all `to`, then each `when` by itself. */
function parseRule(raw: RawRule, namespace: string, path: FieldPath, report: Report): PolicyRule {
  const clauses: (readonly PolicyMatch[])[] = []
  if (raw.from !== undefined) {
    clauses.push(
      raw.from.map(({ source }, at) => {
        checkExclusive(source, [...path, 'from', at, 'source'], report)
        return parseSource(source, namespace)
      }),
    )
  }
  if (raw.to !== undefined) {
    clauses.push(
      raw.to.map(({ operation }) => ({
        ...EMPTY_MATCH,
        destinationPorts: (operation.ports ?? []).map(Number),
        notDestinationPorts: (operation.notPorts ?? []).map(Number),
      })),
    )
  }
  for (const [at, when] of (raw.when ?? []).entries()) {
    clauses.push([parseWhen(when, [...path, 'when', at], report)])
  }
  return { clauses }
}

function parseSource(source: RawMatch, namespace: string): PolicyMatch {
  return {
    ...EMPTY_MATCH,
    principals: (source.principals ?? []).map(parseStringMatch),
    notPrincipals: (source.notPrincipals ?? []).map(parseStringMatch),
    namespaces: (source.namespaces ?? []).map(parseStringMatch),
    notNamespaces: (source.notNamespaces ?? []).map(parseStringMatch),
    serviceAccounts: (source.serviceAccounts ?? []).map((text) => accountOf(text, namespace)),
    notServiceAccounts: (source.notServiceAccounts ?? []).map((text) => accountOf(text, namespace)),
    sourceIps: (source.ipBlocks ?? []).map(canonicalBlock),
    notSourceIps: (source.notIpBlocks ?? []).map(canonicalBlock),
  }
}

/** Source: istio.io AuthorizationPolicy, `Source.serviceAccounts`. */
function checkExclusive(source: RawMatch, path: FieldPath, report: Report): void {
  const accounts = source.serviceAccounts ?? source.notServiceAccounts
  if (accounts === undefined) return
  for (const other of ['principals', 'notPrincipals', 'namespaces', 'notNamespaces']) {
    if (source[other] === undefined) continue
    const message = 'excludes "serviceAccounts" in one source; use two entries of "from"'
    report('error', [...path, other], message)
  }
}

type WhenField = 'sourceIps' | 'namespaces' | 'principals' | 'destinationIps' | 'destinationPorts'

/** By the condition's key: the field it fills, how a value is checked and how it is read. */
const WHEN: Readonly<
  Record<string, { field: WhenField; check: CheckName; read: (text: string) => unknown }>
> = {
  'source.ip': { field: 'sourceIps', check: 'range', read: canonicalBlock },
  'source.namespace': { field: 'namespaces', check: 'nonEmpty', read: parseStringMatch },
  'source.principal': { field: 'principals', check: 'principal', read: parseStringMatch },
  'destination.ip': { field: 'destinationIps', check: 'range', read: canonicalBlock },
  'destination.port': { field: 'destinationPorts', check: 'portText', read: Number },
}

function parseWhen(
  raw: NonNullable<RawRule['when']>[number],
  path: FieldPath,
  report: Report,
): PolicyMatch {
  const rule = Object.hasOwn(WHEN, raw.key) ? WHEN[raw.key] : undefined
  if (rule === undefined) {
    const known = Object.keys(WHEN)
    const l7 = /^(request\.|remote\.ip$|connection\.sni$|experimental\.)/.test(raw.key)
    const why = l7 ? 'L7 fields are not supported yet' : `unknown key${didYouMean(raw.key, known)}`
    report('error', [...path, 'key'], `"${raw.key}": ${why}; the keys are ${known.join(', ')}`)
    return EMPTY_MATCH
  }
  if (raw.values === undefined && raw.notValues === undefined) {
    report('error', path, 'expected "values" or "notValues", found neither; add one')
  }
  for (const side of ['values', 'notValues'] as const) {
    for (const [at, value] of (raw[side] ?? []).entries()) {
      const { test, expected } = CHECKS[rule.check]
      if (test(value)) continue
      report('error', [...path, side, at], `expected ${expected}, found "${value}"`)
    }
  }
  const negative = `not${rule.field[0]?.toUpperCase()}${rule.field.slice(1)}`
  return {
    ...EMPTY_MATCH,
    [rule.field]: (raw.values ?? []).map(rule.read),
    [negative]: (raw.notValues ?? []).map(rule.read),
  }
}

/** `*` present, `x*` prefix, `*x` suffix, else exact. Source: istio.io AuthorizationPolicy. */
function parseStringMatch(text: string): StringMatch {
  if (text === '*') return { kind: 'presence', value: '' }
  if (text.startsWith('*')) return { kind: 'suffix', value: text.slice(1) }
  if (text.endsWith('*')) return { kind: 'prefix', value: text.slice(0, -1) }
  return { kind: 'exact', value: text }
}

function accountOf(text: string, namespace: string): ServiceAccountMatch {
  const [first = '', second] = text.split('/')
  return second === undefined
    ? { namespace, serviceAccount: first }
    : { namespace: first, serviceAccount: second }
}

function canonicalBlock(text: string): string {
  const cidr = parseCidr(text)
  return cidr === undefined ? text : formatCidr(cidr)
}
