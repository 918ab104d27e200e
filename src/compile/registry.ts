// World -> Registry and Rules: what the resources amount to. Pure and total: a world with issues
// compiles as far as it goes, and whoever asked decides by the issues whether to put it in force.
import type { Issue } from '../api/issue.ts'
import { placeOf, resourceKey } from '../api/resource.ts'
import type { World } from '../api/world.ts'
import type { AuthorizationPolicy } from '../model/authorization.ts'
import { DEFAULT_MESH_SETTINGS, type MeshSettings } from '../model/mesh-settings.ts'
import type { PeerAuthentication, Registry, Rules } from '../model/registry.ts'
import type { Service } from '../model/service.ts'
import type { Workload } from '../model/workload.ts'
import { AddressBook, overlappingServices } from './address-book.ts'
import { type AddressPlaces, NO_PLACES, withAddresses } from './assign-addresses.ts'
import { bindEndpoints } from './bind-endpoints.ts'
import { checkMatches } from './check-match.ts'
import { checkWorld } from './check-world.ts'
import { directPortsOf } from './direct-ports.ts'
import { deepFreeze } from './freeze.ts'
import { checkHosts, hostPortsOf } from './host-workloads.ts'
import { type ServiceDraft, serviceDrafts } from './service-draft.ts'
import {
  draftOfPod,
  draftOfWorkloadEntry,
  surroundingsOf,
  type WorkloadDraft,
} from './workload-draft.ts'

export interface CompiledWorld {
  readonly registry: Registry
  readonly rules: Rules
  /** Of the services whose addresses the mesh assigned: what to compile the next world with. */
  readonly places: AddressPlaces
  /** Any error among them: the world must not come into force; the last good one stays. */
  readonly issues: readonly Issue[]
}

/** `kept`: the places of the compiled world before this one. */
export function compileWorld(world: World, kept: AddressPlaces = NO_PLACES): CompiledWorld {
  const mesh = world.MeshConfig[0]?.spec ?? DEFAULT_MESH_SETTINGS
  const issues = checkWorld(world)
  const around = surroundingsOf(world, mesh)
  const book = new AddressBook()
  const drafts: WorkloadDraft[] = [
    ...world.Pod.filter(({ spec }) => !spec.finished).map((pod) => draftOfPod(pod, around)),
    ...world.WorkloadEntry.map((entry) => draftOfWorkloadEntry(entry, around)),
  ]
  for (const draft of drafts) issues.push(...book.enter(draft))
  const { services, places, issues: unaddressed } = withAddresses(serviceDrafts(world, mesh), kept)
  issues.push(...overlappingServices(services), ...unaddressed)
  const bound = bindEndpoints(world, services, { book, around, drafts })
  issues.push(...bound.issues, ...checkHosts(drafts, services), ...checkMatches(drafts))
  return {
    registry: registryOf([...drafts, ...bound.added], services),
    rules: rulesOf(world, mesh),
    places,
    issues,
  }
}

function registryOf(
  drafts: readonly WorkloadDraft[],
  serviceDrafts: readonly ServiceDraft[],
): Registry {
  const services = new Map<string, Service>()
  for (const { service } of serviceDrafts) services.set(service.key, deepFreeze(service))
  const workloads = new Map<string, Workload>()
  for (const draft of drafts) {
    const workload: Workload = {
      ...draft.base,
      services: Object.fromEntries([...draft.services].sort(([a], [b]) => (a < b ? -1 : 1))),
      directPorts: directPortsOf(draft, services),
      ...withPorts(draft, services),
    }
    workloads.set(workload.uid, deepFreeze(workload))
  }
  return { workloads, services }
}

function withPorts(
  draft: WorkloadDraft,
  services: ReadonlyMap<string, Service>,
): Pick<Workload, 'match'> {
  const { match } = draft.base
  if (match?.kind !== 'host') return {}
  return { match: { ...match, ...hostPortsOf(draft, services) } }
}

function rulesOf(world: World, mesh: MeshSettings): Rules {
  return {
    mesh: deepFreeze({ ...mesh }),
    authorization: new Map(
      world.AuthorizationPolicy.map((resource) => {
        const key = resourceKey(resource)
        const policy: AuthorizationPolicy = {
          key,
          name: resource.name,
          namespace: resource.namespace,
          ...resource.spec,
          dryRun: resource.annotations['istio.io/dry-run'] === 'true',
          origin: placeOf(resource.origin),
        }
        return [key, deepFreeze(policy)]
      }),
    ),
    peerAuthentication: new Map(
      world.PeerAuthentication.map((resource) => {
        const { namespace, createdMs } = resource
        const key = resourceKey(resource)
        const value: PeerAuthentication = { key, namespace, ...resource.spec, createdMs }
        return [key, deepFreeze(value)]
      }),
    ),
  }
}
