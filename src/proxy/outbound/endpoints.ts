// The endpoints of a service port that may be chosen, and the choice among them.

import {
  pickWeighted,
  pickWeightedAmong,
  type WeightedChoice,
  weightedChoice,
} from '../../balancing/weighted.ts'
import type { PersistentMap } from '../../base/persistent-map.ts'
import type { Random } from '../../base/random.ts'
import type { LocalPod } from '../../model/messages.ts'
import type { TableService, Tables, TableWorkload } from '../../model/tables.ts'

export interface Endpoint {
  readonly workload: TableWorkload
  /** The port the workload serves at. */
  readonly port: number
  /** The address of its node that was called, loopback included; absent: any of its own will do. */
  readonly asked?: string
}

/** Choices by service and port, made on first use and kept while no workload changed. */
export class EndpointChoices {
  #workloads: PersistentMap<TableWorkload> | undefined
  #choices = new WeakMap<TableService, Map<number, WeightedChoice<Endpoint>>>()

  of(tables: Tables, service: TableService, servicePort: number): WeightedChoice<Endpoint> {
    if (tables.workloads !== this.#workloads) {
      this.#workloads = tables.workloads
      this.#choices = new WeakMap()
    }
    let ports = this.#choices.get(service)
    if (ports === undefined) {
      ports = new Map()
      this.#choices.set(service, ports)
    }
    let choice = ports.get(servicePort)
    if (choice === undefined) {
      const found = endpointsOf(tables, service, servicePort)
      choice = weightedChoice(found, (endpoint) => endpoint.workload.capacity)
      // Only ports the service has: a caller must not be able to fill the map.
      if (service.ports.some((port) => port.port === servicePort)) ports.set(servicePort, choice)
    }
    return choice
  }
}

/** Healthy ones, or all where the service says so; weight is capacity, 0 is never chosen. */
function endpointsOf(tables: Tables, service: TableService, servicePort: number): Endpoint[] {
  const declared = service.ports.find((port) => port.port === servicePort)
  const endpoints: Endpoint[] = []
  if (declared === undefined) return endpoints
  for (const uid of service.endpoints) {
    const workload = tables.workloads.get(uid)
    if (workload === undefined) continue
    if (workload.status !== 'healthy' && !service.allowUnhealthy) continue
    const own = workload.services[service.key]?.find((pair) => pair.servicePort === servicePort)
    // The endpoint's own mapping wins. Source: ztunnel `state.rs` fetch_upstream.
    const port = own?.targetPort ?? declared.targetPort
    if (port > 0) endpoints.push({ workload, port })
  }
  return endpoints
}

/** One that `from` has an address family in common with, and that was not tried. */
export function pickEndpoint(
  choice: WeightedChoice<Endpoint>,
  tried: ReadonlySet<string>,
  usable: (endpoint: Endpoint) => boolean,
  random: Random,
): Endpoint | undefined {
  if (tried.size === 0) {
    const first = pickWeighted(choice, random)
    if (first === undefined || usable(first)) return first
  }
  return pickWeightedAmong(
    choice,
    (endpoint) => !tried.has(endpoint.workload.uid) && usable(endpoint),
    random,
  )
}

/** The endpoint's address in the family the caller asked for, else in another one it has. */
export function addressTowards(
  workload: TableWorkload,
  wantedIp: string,
  from: LocalPod,
): string | undefined {
  const sameFamily = workload.addresses.find((ip) => isV6(ip) === isV6(wantedIp))
  if (sameFamily !== undefined) return sameFamily
  return workload.addresses.find((ip) => from.addresses.some((own) => isV6(own) === isV6(ip)))
}

function isV6(ip: string): boolean {
  return ip.includes(':')
}
