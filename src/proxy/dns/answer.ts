// What the mesh answers to a question: addresses of a service or of its endpoints, or nothing
// because the name is not one of the mesh's.
import type { Random } from '../../base/random.ts'
import { LIMITS } from '../../model/limits.ts'
import type { TableService, Tables, TableWorkload } from '../../model/tables.ts'
import { isHeadless, type Meaning, meaningOf } from './names.ts'
import { isInternet, type Query } from './query.ts'
import { TYPE } from './wire.ts'

export interface Asker {
  readonly namespace: string
  /** Families it has addresses of. What it cannot reach is not told. */
  readonly v4: boolean
  readonly v6: boolean
}

export interface Answer {
  /** The name proper, when it was asked by another. */
  readonly alias?: string
  /** Of the family asked for. */
  readonly addresses: readonly string[]
  /** The same until the tables change. */
  readonly lasting: boolean
}

/** Undefined: the question is for the resolver that was asked. */
export function answerTo(
  tables: Tables,
  asker: Asker,
  query: Query,
  random: Random,
): Answer | undefined {
  if (!query.standard || !isInternet(query)) return undefined
  const meaning = meaningOf(tables, asker.namespace, query.name)
  const all = meaning === undefined ? undefined : addressesOf(tables, meaning)
  if (meaning === undefined || all === undefined) return undefined
  const addresses = all.filter((ip) => isAsked(ip, query.type, asker))
  const isList = meaning.endpoint === undefined && isHeadless(meaning.service)
  return {
    ...(meaning.alias === undefined ? {} : { alias: meaning.alias }),
    addresses: isList ? shuffled(addresses, random).slice(0, LIMITS.dnsAddressesMax) : addresses,
    lasting: !isList,
  }
}

function isAsked(ip: string, type: number, asker: Asker): boolean {
  return ip.includes(':') ? type === TYPE.aaaa && asker.v6 : type === TYPE.a && asker.v4
}

/** Undefined: nothing that a name could stand for (ranges; what goes on to the address called). */
function addressesOf(
  tables: Tables,
  { service, endpoint }: Meaning,
): readonly string[] | undefined {
  if (endpoint !== undefined) return isServing(service, endpoint) ? endpoint.addresses : []
  if (isHeadless(service)) return endpointAddresses(tables, service)
  const single = service.vips.filter((vip) => !vip.includes('/'))
  return single.length > 0 ? single : undefined
}

function endpointAddresses(tables: Tables, service: TableService): readonly string[] {
  return service.endpoints.flatMap((uid) => {
    const workload = tables.workloads.get(uid)
    // Addresses mean something in their own network only.
    const isHere = workload?.network === tables.mesh.network
    return workload !== undefined && isHere && isServing(service, workload)
      ? workload.addresses
      : []
  })
}

function isServing(service: TableService, workload: TableWorkload): boolean {
  return workload.status === 'healthy' || service.allowUnhealthy
}

/** Fisher and Yates. */
function shuffled(addresses: readonly string[], random: Random): readonly string[] {
  const list = [...addresses]
  for (let at = list.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1))
    const moved = list[at] as string
    list[at] = list[other] as string
    list[other] = moved
  }
  return list
}
