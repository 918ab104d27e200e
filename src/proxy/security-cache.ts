// The policies of a workload, compiled on first use and kept while they stay what they are.
import type { PersistentMap } from '../base/persistent-map.ts'
import type { AuthorizationPolicy } from '../model/authorization.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'
import { type BoundPolicies, compilePolicies } from '../policy/authorize.ts'

/** At the destination a policy that is named but missing denies; at the source it is left out,
 * because the destination decides anyway. */
export type Side = 'source' | 'destination'

export class SecurityCache {
  #policies: PersistentMap<AuthorizationPolicy> | undefined
  readonly #bound = {
    source: new WeakMap<TableWorkload, BoundPolicies>(),
    destination: new WeakMap<TableWorkload, BoundPolicies>(),
  }

  policiesOf(tables: Tables, workload: TableWorkload, side: Side): BoundPolicies {
    if (tables.policies !== this.#policies) {
      this.#policies = tables.policies
      this.#bound.source = new WeakMap()
      this.#bound.destination = new WeakMap()
    }
    const held = this.#bound[side].get(workload)
    if (held !== undefined) return held
    const bound = compilePolicies(selected(tables, workload, side))
    this.#bound[side].set(workload, bound)
    return bound
  }
}

function selected(tables: Tables, workload: TableWorkload, side: Side): AuthorizationPolicy[] {
  const policies: AuthorizationPolicy[] = []
  for (const key of workload.policies) {
    const policy = tables.policies.get(key)
    if (policy !== undefined) policies.push(policy)
    else if (side === 'destination') policies.push(denyAll(key))
  }
  return policies
}

/** Stands for a policy we were told of and do not hold: nothing says what it would allow. */
function denyAll(key: string): AuthorizationPolicy {
  const [namespace = '', name = ''] = key.split('/')
  return {
    key,
    name,
    namespace,
    action: 'deny',
    rules: [{ clauses: [] }],
    dryRun: false,
    origin: 'missing',
  }
}
