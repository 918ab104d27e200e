// Which workloads stand behind which service, and at which of their ports: by selector, by
// EndpointSlice, or as listed in a ServiceEntry.

import type { Issue } from '../api/issue.ts'
import type { WorkloadTemplate } from '../api/istio/workload-entry.ts'
import { issueAt, type Resource, resourceKey } from '../api/resource.ts'
import type { World } from '../api/world.ts'
import type { PortPair } from '../model/workload.ts'
import type { AddressBook } from './address-book.ts'
import type { PortDraft, ServiceDraft } from './service-draft.ts'
import { draftOfAddress, type Surroundings, type WorkloadDraft } from './workload-draft.ts'

export interface Binding {
  /** Workloads that only services know: addresses that belong to nothing else. */
  readonly added: readonly WorkloadDraft[]
  readonly issues: readonly Issue[]
}

export interface BindingParts {
  readonly book: AddressBook
  readonly around: Surroundings
  readonly drafts: readonly WorkloadDraft[]
}

/** Fills `services` of the drafts. */
export function bindEndpoints(
  world: World,
  services: readonly ServiceDraft[],
  parts: BindingParts,
): Binding {
  const added: WorkloadDraft[] = []
  const issues: Issue[] = []
  const slices = Map.groupBy(world.EndpointSlice, ({ namespace, spec }) => {
    return `${namespace}/${spec.service}`
  })
  const find = selectorIndex(parts.drafts)
  for (const draft of services) {
    const { source } = draft
    if (draft.selector !== undefined) {
      bindSelected(draft, find(source.namespace, draft.selector), issues)
    } else if (source.kind === 'Service') {
      for (const slice of slices.get(resourceKey(source)) ?? []) {
        bindSlice(draft, slice, parts, added)
      }
    } else {
      bindListed(draft, source, parts, added, issues)
    }
  }
  return { added, issues }
}

function bindSelected(
  draft: ServiceDraft,
  workloads: readonly WorkloadDraft[],
  issues: Issue[],
): void {
  const { source } = draft
  const unresolved = new Set(draft.ports)
  for (const workload of workloads) {
    const pairs: PortPair[] = []
    for (const port of draft.ports) {
      const targetPort = targetOf(port, workload)
      if (targetPort === undefined) continue
      unresolved.delete(port)
      pairs.push({ servicePort: port.port, targetPort })
    }
    attach(workload, draft, pairs)
  }
  if (workloads.length === 0) {
    if (source.kind !== 'ServiceEntry') return
    const message = 'selects no workload; it has no endpoints'
    issues.push(issueAt(source, 'warning', 'spec.workloadSelector', message))
    return
  }
  for (const { name, port, target } of unresolved) {
    const message = `port ${name || port}: no endpoint has a port named "${target}"`
    issues.push(issueAt(source, 'warning', 'spec.ports', message))
  }
}

/** Source: Kubernetes Service `targetPort`; Istio WorkloadEntry `ports`. */
function targetOf(port: PortDraft, workload: WorkloadDraft): number | undefined {
  const own = workload.ports.find(({ of, name }) => of === 'service' && name === port.name)
  if (own !== undefined) return own.port
  if (typeof port.target === 'number') return port.target
  const transport = port.protocol === 'udp' ? 'UDP' : 'TCP'
  const named = workload.ports.find(
    (candidate) =>
      candidate.name === port.target &&
      (candidate.of === 'service' || candidate.transport === transport),
  )
  return named?.port
}

function bindSlice(
  draft: ServiceDraft,
  slice: Resource<'EndpointSlice'>,
  parts: BindingParts,
  added: WorkloadDraft[],
): void {
  const pairs = draft.ports.flatMap(({ name, port }) => {
    const listed = slice.spec.ports.find((candidate) => candidate.name === name)
    return listed === undefined ? [] : { servicePort: port, targetPort: listed.port }
  })
  const { network } = parts.around.mesh
  for (const { addresses, ready, zone } of slice.spec.endpoints) {
    for (const address of addresses) {
      const { hosts, others } = splitHosts(parts.book, network, address, pairs)
      const owner = parts.book.owner(network, address)
      // A workload of the mesh says itself how it is; the slice may only leave it out.
      if (ready || draft.service.allowUnhealthy) {
        for (const { host, pair } of hosts) attach(host, draft, [pair])
        if (owner !== undefined) attach(owner, draft, others)
      }
      if (owner !== undefined || (hosts.length > 0 && others.length === 0)) continue
      const locality = `/${zone}`
      const endpoint = { address, ready, locality, ports: {}, labels: {} }
      const workload = draftOfAddress(slice, endpoint, parts.around)
      parts.book.enter(workload)
      added.push(workload)
      attach(workload, draft, others)
    }
  }
}

/** Which workloads of a node say that they serve a listed port there, and what none of them does. */
function splitHosts(
  book: AddressBook,
  network: string,
  address: string,
  pairs: readonly PortPair[],
): {
  readonly hosts: readonly { readonly host: WorkloadDraft; readonly pair: PortPair }[]
  readonly others: readonly PortPair[]
} {
  const found = pairs.map((pair) => ({ host: book.host(network, address, pair.targetPort), pair }))
  return {
    hosts: found.flatMap(({ host, pair }) => (host === undefined ? [] : { host, pair })),
    others: found.flatMap(({ host, pair }) => (host === undefined ? pair : [])),
  }
}

function bindListed(
  draft: ServiceDraft,
  source: Resource<'ServiceEntry'>,
  parts: BindingParts,
  added: WorkloadDraft[],
  issues: Issue[],
): void {
  for (const [at, endpoint] of source.spec.endpoints.entries()) {
    const network = endpoint.network ?? parts.around.mesh.network
    const pairs = draft.ports.map(({ name, port, target }) => ({
      servicePort: port,
      targetPort: endpoint.ports[name] ?? Number(target),
    }))
    const { hosts, others } = splitHosts(parts.book, network, endpoint.address, pairs)
    for (const { host, pair } of hosts) {
      issues.push(...contradictions(source, at, endpoint, host))
      attach(host, draft, [pair])
    }
    if (hosts.length > 0 && others.length === 0) continue
    let workload = parts.book.owner(network, endpoint.address)
    if (workload === undefined) {
      workload = draftOfAddress(source, { ...endpoint, ready: true }, parts.around)
      issues.push(...parts.book.enter(workload))
      added.push(workload)
    } else {
      issues.push(...contradictions(source, at, endpoint, workload))
    }
    attach(workload, draft, others)
  }
}

/** An endpoint that is a known workload may not claim another identity for it. */
function contradictions(
  source: Resource<'ServiceEntry'>,
  at: number,
  endpoint: WorkloadTemplate,
  workload: WorkloadDraft,
): Issue[] {
  const account = endpoint.serviceAccount
  if (account === undefined || account === workload.base.serviceAccount) return []
  const { kind } = workload.source
  const other = `${kind} ${resourceKey(workload.source)}`
  const path = `spec.endpoints[${at}].serviceAccount`
  const message = `this address is ${other} with service account ${workload.base.serviceAccount}`
  return [issueAt(source, 'error', path, `${message}; leave the field out or make them equal`)]
}

function attach(workload: WorkloadDraft, draft: ServiceDraft, pairs: readonly PortPair[]): void {
  if (pairs.length === 0) return
  const key = draft.service.key
  const known = workload.services.get(key) ?? []
  const isNew = (pair: PortPair) =>
    !known.some(
      ({ servicePort, targetPort }) =>
        servicePort === pair.servicePort && targetPort === pair.targetPort,
    )
  workload.services.set(key, [...known, ...pairs.filter(isNew)])
}

type Find = (
  namespace: string,
  selector: Readonly<Record<string, string>>,
) => readonly WorkloadDraft[]

/** Finds by one label first, so that many services over many workloads stay affordable. */
function selectorIndex(drafts: readonly WorkloadDraft[]): Find {
  const byLabel = new Map<string, WorkloadDraft[]>()
  for (const draft of drafts) {
    for (const [name, value] of Object.entries(draft.base.labels)) {
      const key = JSON.stringify([draft.base.namespace, name, value])
      const list = byLabel.get(key)
      if (list === undefined) byLabel.set(key, [draft])
      else list.push(draft)
    }
  }
  return (namespace, selector) => {
    const labels = Object.entries(selector)
    const [first] = labels
    if (first === undefined) return []
    const candidates = byLabel.get(JSON.stringify([namespace, ...first])) ?? []
    return candidates.filter(({ base }) =>
      labels.every(([name, value]) => base.labels[name] === value),
    )
  }
}
