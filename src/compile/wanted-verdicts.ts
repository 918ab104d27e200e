// What the kernel may answer by itself to "may this local workload connect to that one, at this
// port?". The answers are those of `authorize`; where there is no entry, the agent is asked.
import type { AuthorizationPolicy, PolicyMatch } from '../model/authorization.ts'
import type { ConnectionFacts } from '../model/facts.ts'
import { LIMITS } from '../model/limits.ts'
import type { SpiffeId } from '../model/spiffe-id.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'
import type { WantedVerdict } from '../model/wanted-maps.ts'
import { identityOf } from '../model/workload.ts'
import { authorize, type BoundPolicies, compilePolicies } from '../policy/authorize.ts'
import { acceptTransport } from '../policy/peer-mode.ts'

interface Source {
  readonly uid: string
  readonly id: SpiffeId
  readonly addresses: readonly string[]
}

/**
 * Verdicts name a port always, for a verdict without one would also hold for ports that are no
 * candidates; and `*` only where no policy looks at the source, for it also holds for workloads
 * that come later. Beyond LIMITS.directVerdictsMax whole destinations are left to the agent.
 */
export function wantedVerdicts(tables: Tables, local: readonly TableWorkload[]): WantedVerdict[] {
  const sources = local.map((workload) => sourceOf(workload))
  const verdicts: WantedVerdict[] = []
  for (const destination of local) {
    if (destination.directPorts.length === 0) continue
    const found = verdictsTo(destination, tables, sources)
    if (verdicts.length + found.length <= LIMITS.directVerdictsMax) verdicts.push(...found)
  }
  return verdicts
}

/** The workload's address of the same family as `ip`. */
export function addressLike(
  workload: { readonly addresses: readonly string[] },
  ip: string,
): string | undefined {
  return workload.addresses.find((address) => address.includes(':') === ip.includes(':'))
}

const sourceOf = (workload: TableWorkload): Source => ({
  uid: workload.uid,
  id: identityOf(workload),
  addresses: workload.addresses,
})

function verdictsTo(
  destination: TableWorkload,
  tables: Tables,
  sources: readonly Source[],
): WantedVerdict[] {
  const policies = destination.policies.map((key) => tables.policies.get(key))
  const known = policies.flatMap((policy) => policy ?? [])
  // A policy that is named and missing could be one that denies.
  if (known.length !== policies.length) return []
  const bound = compilePolicies(known)
  const compares = comparedBy(known)
  const askers = compares.identity || compares.address ? sources : [sourceOf(destination)]
  return destination.directPorts.flatMap((port) => {
    const byIdentity = new Map<string, WantedVerdict['verdict']>()
    return askers.flatMap((source): WantedVerdict[] => {
      // Where no policy compares addresses, workloads of one identity are judged alike.
      const known = compares.address ? undefined : byIdentity.get(source.id)
      const verdict =
        known ?? verdictOf(bound, compares.address ? source : alike(source), destination, port)
      byIdentity.set(source.id, verdict)
      if (verdict === 'agent') return []
      const name = askers === sources ? source.uid : '*'
      return [{ source: name, destination: destination.uid, port, verdict }]
    })
  })

  function alike(source: Source): Source {
    return { ...source, addresses: destination.addresses }
  }
}

/** The verdict of every connection the two can have; they must agree. */
function verdictOf(
  bound: BoundPolicies,
  source: Source,
  destination: TableWorkload,
  port: number,
): WantedVerdict['verdict'] {
  const kinds = new Set<WantedVerdict['verdict']>()
  for (const destinationIp of destination.addresses) {
    const sourceIp = addressLike(source, destinationIp)
    if (sourceIp === undefined) continue
    const facts: ConnectionFacts = {
      peer: { kind: 'verified', id: source.id, by: 'kernel' },
      sourceIp,
      destinationIp,
      destinationPort: port,
    }
    const accepted = acceptTransport(destination.peer, port, facts.peer)
    const verdict = accepted.kind === 'allow' ? authorize(bound, facts) : accepted
    kinds.add(verdict.kind === 'undecided' ? 'agent' : verdict.kind)
  }
  const [only] = kinds
  return kinds.size === 1 && only !== undefined ? only : 'agent'
}

/** What of the source the policies look at. Dry-run policies have no say. */
function comparedBy(policies: readonly AuthorizationPolicy[]) {
  const matches: readonly PolicyMatch[] = policies
    .filter(({ dryRun }) => !dryRun)
    .flatMap(({ rules }) => rules.flatMap(({ clauses }) => clauses.flat()))
  return {
    address: matches.some((match) => match.sourceIps.length + match.notSourceIps.length > 0),
    identity: matches.some(
      (match) =>
        match.principals.length > 0 ||
        match.notPrincipals.length > 0 ||
        match.namespaces.length > 0 ||
        match.notNamespaces.length > 0 ||
        match.serviceAccounts.length > 0 ||
        match.notServiceAccounts.length > 0,
    ),
  }
}
