// Gives services virtual addresses where nobody else did: the same ones again and again, as far as
// what was given before is known.

import type { Issue } from '../api/issue.ts'
import { issueAt } from '../api/resource.ts'
import { fnv1a } from '../base/fnv.ts'
import { canonicalIp, parseIp } from '../base/ip.ts'
import { LIMITS } from '../model/limits.ts'
import type { ServiceDraft } from './service-draft.ts'

/** By key of the service: where in the ranges its addresses are, from 1. Services that are gone are
 * in it too, first those that went first: programs may still hold their addresses. */
export type AddressPlaces = ReadonlyMap<string, number>

export const NO_PLACES: AddressPlaces = new Map()

/** The addresses at a place in 240.240.0.0/16 and 2001:2::/48. Source: Istio, the ranges of its
 * automatic addresses. */
export function addressesAt(place: number): readonly [v4: string, v6: string] {
  return [`240.240.${place >> 8}.${place & 255}`, `2001:2::${place.toString(16)}`]
}

/**
 * A place for every key, as long as there are any. What `kept` says holds, unless somebody wrote an
 * address of that place (`taken`); otherwise the hash of the key, or the next place that is free.
 */
export function assignAddresses(
  keys: readonly string[],
  kept: AddressPlaces,
  taken: ReadonlySet<number>,
): AddressPlaces {
  const used = new Set(taken)
  const wanted = new Set(keys)
  const places = new Map<string, number>()
  const claim = (key: string, place: number | undefined): boolean => {
    if (place === undefined || !isPlace(place) || used.has(place)) return false
    used.add(place)
    places.set(key, place)
    return true
  }
  const sorted = [...wanted].sort()
  const fresh = sorted.filter((key) => !claim(key, kept.get(key)))
  const departed = [...kept].filter(([key]) => !wanted.has(key))
  const rest = departed.slice(-LIMITS.departedAddressesMax)
  const spare = new Map(rest.map(([key, place]) => [place, key]))
  for (const key of fresh) {
    const free = firstFree(key, (place) => !used.has(place) && !spare.has(place))
    const place = free ?? firstFree(key, (place) => !used.has(place))
    if (place !== undefined) spare.delete(place)
    claim(key, place)
  }
  const stays = rest.filter(([key, place]) => spare.get(place) === key && !used.has(place))
  return new Map([...stays, ...places])
}

function firstFree(key: string, isFree: (place: number) => boolean): number | undefined {
  const start = fnv1a(key)
  for (let step = 0; step < LIMITS.assignedAddressesMax; step++) {
    const place = ((start + step) % LIMITS.assignedAddressesMax) + 1
    if (isFree(place)) return place
  }
  return undefined
}

export function isPlace(place: number): boolean {
  return Number.isInteger(place) && place >= 1 && place <= LIMITS.assignedAddressesMax
}

export interface Addressed {
  readonly services: readonly ServiceDraft[]
  /** To be kept for the next time. */
  readonly places: AddressPlaces
  readonly issues: readonly Issue[]
}

/** Fills the virtual addresses of those drafts that are to get theirs from the mesh. */
export function withAddresses(drafts: readonly ServiceDraft[], kept: AddressPlaces): Addressed {
  const keys = drafts.filter(({ service }) => service.assigned).map(({ service }) => service.key)
  const written = drafts.flatMap(({ service }) => service.vips.flatMap((vip) => placesOf(vip)))
  const places = assignAddresses(keys, kept, new Set(written))
  const issues: Issue[] = []
  const services = drafts.map((draft) => {
    if (!draft.service.assigned) return draft
    const place = places.get(draft.service.key)
    if (place === undefined) {
      const message = `no address is free in 240.240.0.0/16 for ${draft.service.hostname}; write one`
      issues.push(issueAt(draft.source, 'error', 'spec', message))
      return draft
    }
    return { ...draft, service: { ...draft.service, vips: addressesAt(place) } }
  })
  return { services, places, issues }
}

/** Where in the ranges a written address is. */
function placesOf(vip: string): number[] {
  const address = canonicalIp(vip)
  const bytes = address === undefined ? undefined : parseIp(address)
  if (address === undefined || bytes === undefined) return []
  const place = ((bytes[14] ?? 0) << 8) | (bytes[15] ?? 0)
  return isPlace(place) && addressesAt(place).includes(address) ? [place] : []
}
