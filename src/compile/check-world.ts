// What is wrong between resources that are each right by themselves: written twice, or pointing at
// nothing. Errors here keep the whole world from coming into force.
import { workloadGroupOf } from '../api/annotations.ts'
import type { Issue } from '../api/issue.ts'
import { issueAt, KINDS, placeOf, type Resource, resourceKey } from '../api/resource.ts'
import type { World } from '../api/world.ts'

export function checkWorld(world: World): Issue[] {
  return [
    ...duplicates(world),
    ...severalMeshConfigs(world),
    ...groupReferences(world),
    ...sliceReferences(world),
  ]
}

function duplicates(world: World): Issue[] {
  const issues: Issue[] = []
  for (const kind of KINDS) {
    const seen = new Map<string, Resource>()
    for (const resource of world[kind]) {
      const first = seen.get(resourceKey(resource))
      if (first === undefined) {
        seen.set(resourceKey(resource), resource)
        continue
      }
      const message = `is also written at ${placeOf(first.origin)}; remove one of the two`
      issues.push(issueAt(resource, 'error', '', message))
    }
  }
  return issues
}

function severalMeshConfigs(world: World): Issue[] {
  const [first, ...others] = world.MeshConfig
  return others
    .filter((other) => first !== undefined && other.name !== first.name)
    .map((other) => {
      const place = first === undefined ? '' : placeOf(first.origin)
      const message = `a mesh has one MeshConfig, and another is at ${place}; remove one`
      return issueAt(other, 'error', '', message)
    })
}

const GROUP_PATH = 'metadata.annotations["weft.dev/workload-group"]'

function groupReferences(world: World): Issue[] {
  const groups = new Map(world.WorkloadGroup.map((group) => [resourceKey(group), group]))
  const issues: Issue[] = []
  for (const resource of [...world.WorkloadEntry, ...world.WorkloadGroup]) {
    const name = workloadGroupOf(resource.annotations)
    if (name === undefined) continue
    if (!groups.has(`${resource.namespace}/${name}`)) {
      const message = `WorkloadGroup ${resource.namespace}/${name} does not exist; add it`
      issues.push(issueAt(resource, 'error', GROUP_PATH, message))
    }
  }
  for (const group of world.WorkloadGroup) {
    const cycle = cycleFrom(group, groups)
    if (cycle === undefined) continue
    const message = `takes its template from itself: ${cycle.join(' -> ')}; break the cycle`
    issues.push(issueAt(group, 'error', GROUP_PATH, message))
  }
  return issues
}

/** The names along a cycle that comes back to `start`. */
function cycleFrom(
  start: Resource<'WorkloadGroup'>,
  groups: ReadonlyMap<string, Resource<'WorkloadGroup'>>,
): readonly string[] | undefined {
  const names = [start.name]
  let at: Resource<'WorkloadGroup'> | undefined = start
  for (let steps = 0; at !== undefined && steps <= groups.size; steps++) {
    const next = workloadGroupOf(at.annotations)
    if (next === undefined) return undefined
    names.push(next)
    if (next === start.name) return names
    at = groups.get(`${start.namespace}/${next}`)
  }
  return undefined
}

function sliceReferences(world: World): Issue[] {
  const services = new Map(world.Service.map((service) => [resourceKey(service), service]))
  return world.EndpointSlice.flatMap((slice) => {
    const key = `${slice.namespace}/${slice.spec.service}`
    const path = 'metadata.labels["kubernetes.io/service-name"]'
    if (services.has(key)) return []
    const message = `Service ${key} does not exist; add it, or remove the slice`
    return [issueAt(slice, 'error', path, message)]
  })
}
