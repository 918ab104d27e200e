// Who has which address: one workload for each address of a network, and one service for each
// virtual address.
import type { Issue } from '../api/issue.ts'
import { issueAt, placeOf, type Resource, resourceKey } from '../api/resource.ts'
import type { ServiceDraft } from './service-draft.ts'
import type { WorkloadDraft } from './workload-draft.ts'

export class AddressBook {
  readonly #owners = new Map<string, WorkloadDraft>()
  /** Workloads on the network of the node that has the address. */
  readonly #hosts = new Map<string, WorkloadDraft[]>()

  owner(network: string, ip: string): WorkloadDraft | undefined {
    return this.#owners.get(`${network}/${ip}`)
  }

  /** The workload on its node's network that says that it serves this port there. */
  host(network: string, ip: string, port: number): WorkloadDraft | undefined {
    const there = this.#hosts.get(`${network}/${ip}`)
    return there?.find(({ ports }) => ports.some((own) => own.port === port))
  }

  /** Enters the draft's addresses; the issue says which of them another workload has already. */
  enter(draft: WorkloadDraft): Issue[] {
    // Workloads on the host network share their node's address by design.
    if (draft.base.hostNetwork) {
      if (draft.base.match?.kind === 'host') this.#enterHost(draft)
      return []
    }
    return draft.base.addresses.flatMap((ip) => {
      const key = `${draft.base.network}/${ip}`
      const first = this.#owners.get(key)
      if (first === undefined) {
        this.#owners.set(key, draft)
        return []
      }
      return [overlap(draft.source, first.source, 'address', ip)]
    })
  }

  #enterHost(draft: WorkloadDraft): void {
    for (const ip of draft.base.addresses) {
      const key = `${draft.base.network}/${ip}`
      this.#hosts.set(key, [...(this.#hosts.get(key) ?? []), draft])
    }
  }
}

/**
 * Host names, virtual addresses and equal ranges that two resources claim. Nested ranges are no
 * conflict.
 */
export function overlappingServices(drafts: readonly ServiceDraft[]): Issue[] {
  const owners = new Map<string, Resource>()
  const issues: Issue[] = []
  for (const { service, source } of drafts) {
    const claims = [
      ['host', service.hostname, service.key] as const,
      ...service.vips.map((vip) => ['virtual address', vip, vip] as const),
    ]
    for (const [what, text, key] of claims) {
      const first = owners.get(key)
      // The hosts of one ServiceEntry share its addresses.
      if (first === undefined) owners.set(key, source)
      else if (first !== source) issues.push(overlap(source, first, what, text))
    }
  }
  return issues
}

function overlap(second: Resource, first: Resource, what: string, text: string): Issue {
  const other = `${first.kind} ${resourceKey(first)} at ${placeOf(first.origin)}`
  const message = `${what} ${text} belongs to ${other} already; give each its own`
  return issueAt(second, 'error', '', message)
}
