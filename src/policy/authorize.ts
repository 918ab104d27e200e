// Decides whether a connection may be, by the AuthorizationPolicies of its destination, and says
// which policy decided.
import type { AuthorizationPolicy } from '../model/authorization.ts'
import type { ConnectionFacts, Verdict } from '../model/facts.ts'
import { compileRules, type Needs, needsOf, type Predicate, subjectOf } from './matchers.ts'

/** The policies of one workload, ready to be asked. Made by `compilePolicies`; immutable. */
export interface BoundPolicies {
  readonly enforced: BoundSet
  /** The enforced policies together with those marked dry-run; undefined if none is marked. */
  readonly dryRun: BoundSet | undefined
}

interface BoundSet {
  readonly denies: readonly BoundPolicy[]
  readonly allows: readonly BoundPolicy[]
  readonly needs: Needs
}

interface BoundPolicy {
  readonly matches: Predicate
  /** Made once: a judgement allocates no verdict. */
  readonly verdict: Verdict
}

const NO_POLICY: Verdict = Object.freeze({ kind: 'allow', by: 'no-policy' })
const NO_ALLOW_MATCHED: Verdict = Object.freeze({
  kind: 'deny',
  reason: 'policy-denied',
  by: 'no-allow-matched',
})
const UNREADABLE: Verdict = Object.freeze({
  kind: 'deny',
  reason: 'policy-denied',
  by: 'unreadable-facts',
})
const INVALID_IDENTITY: Verdict = Object.freeze({
  kind: 'deny',
  reason: 'identity-invalid',
  by: 'invalid-identity',
})

/** `policies` are those that select the workload (`policiesFor`); their order does not matter. */
export function compilePolicies(policies: readonly AuthorizationPolicy[]): BoundPolicies {
  // By key, so that `by` is the same whatever order the sources deliver in.
  const sorted = [...policies].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
  const enforced = sorted.filter((policy) => !policy.dryRun)
  return {
    enforced: bind(enforced),
    dryRun: enforced.length === sorted.length ? undefined : bind(sorted),
  }
}

/**
 * A matching DENY denies; without ALLOW policies everything else is allowed; with them, only what
 * one of them matches. Dry-run policies have no say. A peer whose identity is invalid is denied
 * before any policy is read, even if there is none: "absent" may be permitted (plaintext, unless a
 * policy asks for an identity), "invalid" never is. Source: ztunnel `state.rs` assert_rbac.
 */
export function authorize(bound: BoundPolicies, facts: ConnectionFacts): Verdict {
  return judge(bound.enforced, facts)
}

/** The verdict if dry-run policies were enforced too, for the log; undefined if there are none. */
export function authorizeDryRun(bound: BoundPolicies, facts: ConnectionFacts): Verdict | undefined {
  return bound.dryRun === undefined ? undefined : judge(bound.dryRun, facts)
}

function judge(set: BoundSet, facts: ConnectionFacts): Verdict {
  if (facts.peer.kind === 'invalid') return INVALID_IDENTITY
  if (set.denies.length + set.allows.length === 0) return NO_POLICY
  const subject = subjectOf(facts, set.needs)
  if (subject === undefined) return UNREADABLE
  for (const policy of set.denies) if (policy.matches(subject)) return policy.verdict
  if (set.allows.length === 0) return NO_POLICY
  for (const policy of set.allows) if (policy.matches(subject)) return policy.verdict
  return NO_ALLOW_MATCHED
}

function bind(policies: readonly AuthorizationPolicy[]): BoundSet {
  const of = (action: AuthorizationPolicy['action']): readonly BoundPolicy[] =>
    policies
      .filter((policy) => policy.action === action)
      .map((policy) => ({
        matches: compileRules(policy.rules, action),
        verdict: Object.freeze<Verdict>(
          action === 'allow'
            ? { kind: 'allow', by: policy.key }
            : { kind: 'deny', reason: 'policy-denied', by: policy.key },
        ),
      }))
  return {
    denies: of('deny'),
    allows: of('allow'),
    needs: needsOf(policies.flatMap((policy) => policy.rules)),
  }
}
