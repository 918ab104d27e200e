// Turns the lists of a policy match into predicates once, so that judging a connection only calls
// them. Meaning: ztunnel `rbac.rs`; families, prefixes and absent identities included.
import { type Cidr, cidrContains, parseCidr } from '../base/cidr.ts'
import { isV4, parseIp } from '../base/ip.ts'
import type {
  PolicyAction,
  PolicyMatch,
  PolicyRule,
  ServiceAccountMatch,
  StringMatch,
} from '../model/authorization.ts'
import type { ConnectionFacts } from '../model/facts.ts'
import { parseSpiffeId } from '../model/spiffe-id.ts'

/** The facts in the form matchers compare; made once per judgement, parsed only if asked for. */
export interface Subject {
  /** `TD/ns/NS/sa/SA`; undefined without a verified identity. */
  readonly principal: string | undefined
  /** '' without a verified identity, as ztunnel compares. */
  readonly namespace: string
  readonly serviceAccount: string
  /** 16 bytes; undefined when no range is compared. */
  readonly sourceIp: Uint8Array | undefined
  readonly destinationIp: Uint8Array | undefined
  readonly destinationPort: number
}

export type Predicate = (subject: Subject) => boolean

/** Whether a policy compares identities or ranges: what `subjectOf` has to parse for it. */
export interface Needs {
  readonly identity: boolean
  readonly ranges: boolean
}

const SCHEME = 'spiffe://'

/** Undefined when the facts needed cannot be read: such a connection must be denied. */
export function subjectOf(facts: ConnectionFacts, needs: Needs): Subject | undefined {
  const { peer } = facts
  const verified = needs.identity && peer.kind === 'verified'
  const who = verified ? parseSpiffeId(peer.id) : undefined
  if (verified && who === undefined) return undefined
  const sourceIp = needs.ranges ? parseIp(facts.sourceIp) : undefined
  const destinationIp = needs.ranges ? parseIp(facts.destinationIp) : undefined
  if (needs.ranges && (sourceIp === undefined || destinationIp === undefined)) return undefined
  return {
    principal: who?.id.slice(SCHEME.length),
    namespace: who?.namespace ?? '',
    serviceAccount: who?.serviceAccount ?? '',
    sourceIp,
    destinationIp,
    destinationPort: facts.destinationPort,
  }
}

/**
 * Rules are alternatives; none: never. A value that cannot be understood must not widen what is
 * permitted: its match never holds in an ALLOW, and its condition always holds in a DENY.
 */
export function compileRules(rules: readonly PolicyRule[], action: PolicyAction): Predicate {
  return anyOf(
    rules.map((rule) =>
      allOf(
        rule.clauses.map((clause) =>
          // A clause without matches asks for nothing; one of empty matches only is never met.
          clause.length === 0 ? ALWAYS : anyOf(clause.map((match) => compileMatch(match, action))),
        ),
      ),
    ),
  )
}

export function needsOf(rules: readonly PolicyRule[]): Needs {
  const matches = rules.flatMap((rule) => rule.clauses.flat())
  return {
    identity: matches.some(
      (match) =>
        match.principals.length +
          match.notPrincipals.length +
          match.namespaces.length +
          match.notNamespaces.length +
          match.serviceAccounts.length +
          match.notServiceAccounts.length >
        0,
    ),
    ranges: matches.some(
      (match) =>
        match.sourceIps.length +
          match.notSourceIps.length +
          match.destinationIps.length +
          match.notDestinationIps.length >
        0,
    ),
  }
}

const ALWAYS: Predicate = () => true
const NEVER: Predicate = () => false

/** Every present list must hold; all lists empty: never. */
export function compileMatch(match: PolicyMatch, action: PolicyAction): Predicate {
  const conditions: Predicate[] = []
  const add = <T>(
    values: readonly T[],
    not: readonly T[],
    compile: (value: T) => Predicate | undefined,
  ) => {
    for (const [list, wanted] of [
      [values, true],
      [not, false],
    ] as const) {
      if (list.length > 0) conditions.push(compileList(list.map(compile), wanted, action))
    }
  }
  add(match.principals, match.notPrincipals, principal)
  add(match.namespaces, match.notNamespaces, namespace)
  add(match.serviceAccounts, match.notServiceAccounts, serviceAccount)
  add(match.sourceIps, match.notSourceIps, (text) => range(text, (subject) => subject.sourceIp))
  add(match.destinationIps, match.notDestinationIps, (text) =>
    range(text, (subject) => subject.destinationIp),
  )
  add(match.destinationPorts, match.notDestinationPorts, port)
  return conditions.length === 0 ? NEVER : allOf(conditions)
}

function compileList(
  values: readonly (Predicate | undefined)[],
  wanted: boolean,
  action: PolicyAction,
): Predicate {
  const known = values.filter((value) => value !== undefined)
  if (known.length < values.length) return action === 'deny' ? ALWAYS : NEVER
  const any = anyOf(known)
  return wanted ? any : (subject) => !any(subject)
}

/** Without identity a principal never matches, so a `not` list of principals always holds. */
function principal(match: StringMatch): Predicate {
  const test = text(match)
  return ({ principal }) => principal !== undefined && test(principal)
}

function namespace(match: StringMatch): Predicate {
  const test = text(match)
  return ({ namespace }) => test(namespace)
}

/** The trust domain is not compared. */
function serviceAccount(match: ServiceAccountMatch): Predicate {
  return (subject) =>
    subject.principal !== undefined &&
    subject.namespace === match.namespace &&
    subject.serviceAccount === match.serviceAccount
}

function port(value: number): Predicate {
  return ({ destinationPort }) => destinationPort === value
}

function range(
  text: string,
  address: (subject: Subject) => Uint8Array | undefined,
): Predicate | undefined {
  const cidr = parseCidr(text)
  if (cidr === undefined) return undefined
  return (subject) => {
    const bytes = address(subject)
    return bytes !== undefined && sameFamily(cidr, bytes) && cidrContains(cidr, bytes)
  }
}

/** `::/0` is every IPv6 address and no IPv4 one, though IPv4 is held v4-mapped. */
function sameFamily(cidr: Cidr, address: Uint8Array): boolean {
  return cidr.bits >= 96 || !isV4(address)
}

function text(match: StringMatch): (value: string) => boolean {
  const wanted = match.value
  switch (match.kind) {
    case 'exact':
      return (value) => value === wanted
    case 'prefix':
      return (value) => value.startsWith(wanted)
    case 'suffix':
      return (value) => value.endsWith(wanted)
    case 'presence':
      return (value) => value !== ''
  }
}

function anyOf(predicates: readonly Predicate[]): Predicate {
  const [only] = predicates
  if (only === undefined) return NEVER
  if (predicates.length === 1) return only
  return (subject) => {
    for (const predicate of predicates) if (predicate(subject)) return true
    return false
  }
}

function allOf(predicates: readonly Predicate[]): Predicate {
  const [only] = predicates
  if (only === undefined) return ALWAYS
  if (predicates.length === 1) return only
  return (subject) => {
    for (const predicate of predicates) if (!predicate(subject)) return false
    return true
  }
}
