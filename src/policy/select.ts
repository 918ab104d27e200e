// Which AuthorizationPolicies hold for a workload.
import type { AuthorizationPolicy } from '../model/authorization.ts'

/** What a selector looks at. */
export interface Selectable {
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
}

/** No selector, or one without labels, selects everything in scope. */
export function selects(
  selector: Readonly<Record<string, string>> | undefined,
  labels: Readonly<Record<string, string>>,
): boolean {
  if (selector === undefined) return true
  for (const name of Object.keys(selector)) {
    if (!Object.hasOwn(labels, name) || labels[name] !== selector[name]) return false
  }
  return true
}

/**
 * Keys of the policies for one workload, sorted: those of its namespace and those of the root
 * namespace, each narrowed by its selector. Dry-run policies are included. Source: Istio
 * AuthorizationPolicy, "a policy in the root namespace applies to all namespaces".
 */
export function policiesFor(
  workload: Selectable,
  policies: Iterable<AuthorizationPolicy>,
  rootNamespace: string,
): readonly string[] {
  const keys: string[] = []
  for (const policy of policies) {
    const inScope = policy.namespace === workload.namespace || policy.namespace === rootNamespace
    if (inScope && selects(policy.selector, workload.labels)) keys.push(policy.key)
  }
  return keys.sort()
}
