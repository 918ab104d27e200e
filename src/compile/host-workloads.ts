// Workloads that share their node's network: which ports of the node are theirs by configuration,
// and what several of them on one node must not have in common.
import { ANNOTATION } from '../api/annotations.ts'
import { formatPath, type Issue } from '../api/issue.ts'
import { issueAt, placeOf, type Resource, resourceKey } from '../api/resource.ts'
import type { Service } from '../model/service.ts'
import type { ServiceDraft } from './service-draft.ts'
import type { WorkloadDraft } from './workload-draft.ts'

const PATH = formatPath(['metadata', 'annotations', ANNOTATION.cgroup])

/** TCP ports that a host-network workload names itself, and with those that services lead to. */
export function hostPortsOf(
  draft: WorkloadDraft,
  services: ReadonlyMap<string, Service>,
): { readonly ports: readonly number[]; readonly ownPorts: readonly number[] } {
  const ports = new Set<number>()
  const udp = new Set<number>()
  for (const [key, pairs] of draft.services) {
    const declared = services.get(key)?.ports ?? []
    for (const { servicePort, targetPort } of pairs) {
      const protocols = declared.filter(({ port }) => port === servicePort)
      const isUdp = protocols.length > 0 && protocols.every(({ protocol }) => protocol === 'udp')
      ;(isUdp ? udp : ports).add(targetPort)
    }
  }
  // A port it names may be the target of a UDP service only.
  const own = new Set(draft.ports.flatMap(({ port }) => (udp.has(port) ? [] : port)))
  const sorted = (set: ReadonlySet<number>): number[] => [...set].sort((a, b) => a - b)
  return { ports: sorted(ports.union(own)), ownPorts: sorted(own) }
}

/** Call it when `services` of the drafts are filled. */
export function checkHosts(
  drafts: readonly WorkloadDraft[],
  services: readonly ServiceDraft[],
): Issue[] {
  const byKey = new Map(services.map(({ service }) => [service.key, service]))
  const hosts = drafts.filter(({ base }) => base.match?.kind === 'host')
  const cgroups = new Claims(
    PATH,
    (name, other) => `${name} is the cgroup of ${other} already; give each its own`,
  )
  const ports = new Claims(
    '',
    (name, other) =>
      `serves port ${name}, and so does ${other}; give each its own ports, and labels by which a ` +
      'service selects one of them only',
  )
  const issues = hosts.flatMap((draft) => {
    const { node, network, addresses, match } = draft.base
    return [
      ...contradictions(draft),
      ...cgroups.claim(draft, match?.pattern ?? '', node),
      ...addresses.flatMap((ip) =>
        hostPortsOf(draft, byKey).ports.flatMap((port) =>
          ports.claim(draft, `${port} of ${ip}`, `${node} ${network}`),
        ),
      ),
    ]
  })
  return [...issues, ...sharedAddresses(drafts, hosts)]
}

function contradictions({ source, annotations, base }: WorkloadDraft): Issue[] {
  const issues: Issue[] = []
  if (annotations[ANNOTATION.node] === undefined) {
    const message = `needs to know its node; add the annotation ${ANNOTATION.node}: NODE beside it`
    issues.push(issueAt(source, 'error', PATH, message))
  }
  if (annotations[ANNOTATION.match] !== undefined) {
    const message =
      `excludes ${ANNOTATION.match}, which is for workloads with a network of their own; ` +
      'remove one of the two'
    issues.push(issueAt(source, 'error', PATH, message))
  }
  const loopback = base.addresses.find((ip) => ip.startsWith('127.') || ip === '::1')
  if (loopback !== undefined) {
    const message = `${loopback} is every machine's own; write an address by which others reach the node`
    issues.push(issueAt(source, 'error', 'spec.address', message))
  }
  return issues
}

/** What one workload of a node can have only. */
class Claims {
  readonly #path: string
  readonly #words: (name: string, other: string) => string
  readonly #owners = new Map<string, Resource>()

  constructor(path: string, words: (name: string, other: string) => string) {
    this.#path = path
    this.#words = words
  }

  claim({ source }: WorkloadDraft, name: string, place: string): Issue[] {
    const key = `${place} ${name}`
    const first = this.#owners.get(key)
    if (first === undefined || first === source) {
      this.#owners.set(key, source)
      return []
    }
    const other = `${first.kind} ${resourceKey(first)} at ${placeOf(first.origin)}`
    return [issueAt(source, 'error', this.#path, this.#words(name, other))]
  }
}

/** Their node's address leads to several workloads, told apart by port; another workload that
 * claims all of it cannot be told apart from them. */
function sharedAddresses(
  drafts: readonly WorkloadDraft[],
  hosts: readonly WorkloadDraft[],
): Issue[] {
  const owners = new Map<string, Resource>()
  for (const { base, source } of hosts) {
    for (const ip of base.addresses) owners.set(`${base.network}/${ip}`, source)
  }
  return drafts.flatMap(({ base, source }) => {
    if (base.hostNetwork || base.tunnel === 'none') return []
    return base.addresses.flatMap((ip) => {
      const host = owners.get(`${base.network}/${ip}`)
      if (host === undefined) return []
      const other = `${host.kind} ${resourceKey(host)} at ${placeOf(host.origin)}`
      const message =
        `address ${ip} is the node's, where ${other} lives; annotate this one with ` +
        `${ANNOTATION.cgroup} as well, or give it an address of its own`
      return [issueAt(source, 'error', '', message)]
    })
  })
}
