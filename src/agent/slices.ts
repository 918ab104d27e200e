// Where the cgroups of the mesh are unless the operator says otherwise: where systemd puts slices of
// these names, for it takes `weft-workloads.slice` to be inside of `weft.slice`. A container that a
// runtime puts into "weft-workloads.slice" must not land in a cgroup that is exempt from the mesh.
import { join } from 'node:path'

export interface Slices {
  /** The agents' own: exempt. */
  readonly agents: string
  /** Watched: everything below is a workload with a network of its own, or refused. */
  readonly workloads: string
  /** Where `weft run --host-network` makes cgroups. */
  readonly hosts: string
}

/** Source: systemd.slice(5), on dashes in the names of slices. */
export function defaultSlices(cgroup2: string): Slices {
  const at = (name: string): string => join(cgroup2, 'weft.slice', `weft-${name}.slice`)
  return { agents: at('agent'), workloads: at('workloads'), hosts: at('hosts') }
}
