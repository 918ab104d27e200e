// AuthorizationPolicy and PeerAuthentication as the policy room reads them: L4 fields, compiled
// from Istio's resources. Shape and meaning: istio.security.Authorization and ztunnel `rbac.rs`.

export type PolicyAction = 'allow' | 'deny'

/** `exact` is case-sensitive; `presence` is any non-empty value (Istio's `*`). */
export interface StringMatch {
  readonly kind: 'exact' | 'prefix' | 'suffix' | 'presence'
  readonly value: string
}

export interface ServiceAccountMatch {
  readonly namespace: string
  readonly serviceAccount: string
}

/**
 * All present lists must hold: a positive list when any value matches, a `not` list when none does.
 * A match with every list empty never matches (ztunnel skips it).
 */
export interface PolicyMatch {
  /** Compared with `TD/ns/NS/sa/SA`, without `spiffe://`. */
  readonly principals: readonly StringMatch[]
  readonly notPrincipals: readonly StringMatch[]
  readonly namespaces: readonly StringMatch[]
  readonly notNamespaces: readonly StringMatch[]
  readonly serviceAccounts: readonly ServiceAccountMatch[]
  readonly notServiceAccounts: readonly ServiceAccountMatch[]
  /** CIDR texts, already validated. */
  readonly sourceIps: readonly string[]
  readonly notSourceIps: readonly string[]
  readonly destinationIps: readonly string[]
  readonly notDestinationIps: readonly string[]
  readonly destinationPorts: readonly number[]
  readonly notDestinationPorts: readonly number[]
}

/** No list has a value; a start for making others. By itself it never matches. */
export const EMPTY_MATCH: PolicyMatch = Object.freeze({
  principals: [],
  notPrincipals: [],
  namespaces: [],
  notNamespaces: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
})

/** All clauses must hold; a clause holds when any of its matches does; no clauses: always. */
export interface PolicyRule {
  readonly clauses: readonly (readonly PolicyMatch[])[]
}

export interface AuthorizationPolicy {
  /** `namespace/name`. */
  readonly key: string
  readonly name: string
  readonly namespace: string
  readonly action: PolicyAction
  /** Workload labels it selects; undefined selects all in scope. */
  readonly selector?: Readonly<Record<string, string>>
  /** Any must match; none: the policy never matches. */
  readonly rules: readonly PolicyRule[]
  /** Annotation `istio.io/dry-run`: evaluated for the log only. */
  readonly dryRun: boolean
  /** For explanations: `file:line`. */
  readonly origin: string
}

export type MtlsMode = 'strict' | 'permissive' | 'disable'

/** PeerAuthentication, already resolved for one workload: workload over namespace over mesh. */
export interface PeerMode {
  readonly mode: MtlsMode
  /** By workload port. */
  readonly ports: Readonly<Record<string, MtlsMode>>
  /** Which PeerAuthentication said so (`namespace/name`), or 'default'. */
  readonly by: string
}
