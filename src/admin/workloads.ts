// The answer to "which workloads are there, and are they in the mesh": those of this node, and on
// demand all.
import { LIMITS } from '../model/limits.ts'
import type { TableWorkload } from '../model/tables.ts'
import { identityOf } from '../model/workload.ts'
import type { AdminPort } from './port.ts'
import type { WorkloadRow, Workloads } from './shapes.ts'
import { localWorkloads } from './status.ts'

export function workloadsOf(port: AdminPort, asked: { readonly all: boolean }): Workloads {
  const { node } = port.about
  const tables = port.tables()
  if (tables === undefined) return { node, workloads: [], leftOut: 0 }
  const local = localWorkloads(tables, node)
  const ours = new Set(local)
  const others = asked.all ? [...tables.workloads.values()].filter((each) => !ours.has(each)) : []
  const ports = port.listeningPorts()
  const facts = (each: TableWorkload): LocalFacts | undefined =>
    ours.has(each) ? { ...port.enrolment(each), listening: ports.get(each.uid) ?? [] } : undefined
  const listed = [...sorted(local), ...sorted(others)].slice(0, LIMITS.workloadsShownMax)
  return {
    node,
    workloads: listed.map((workload) => rowOf(workload, facts(workload))),
    leftOut: tables.workloads.size - listed.length,
  }
}

/** Of workloads of other nodes nothing is known but what is configured. */
type LocalFacts = Pick<WorkloadRow, 'enrolled' | 'why' | 'listening'>

function rowOf(workload: TableWorkload, facts: LocalFacts | undefined): WorkloadRow {
  const { uid, namespace, name, node, addresses, match, peer, tunnel } = workload
  return {
    uid,
    namespace,
    name,
    node,
    identity: identityOf(workload),
    addresses,
    network: workload.hostNetwork ? 'host' : 'pod',
    ...(match === undefined ? {} : { match: `${match.kind}=${match.pattern}` }),
    ...facts,
    services: Object.keys(workload.services).sort(),
    policies: workload.policies,
    peerMode: peer.mode,
    peerModeByPort: Object.fromEntries(
      Object.entries(peer.ports).map(([at, mode]) => [at, String(mode)]),
    ),
    inMesh: tunnel === 'hbone',
  }
}

function sorted(workloads: readonly TableWorkload[]): TableWorkload[] {
  return workloads.toSorted((a, b) => (a.uid < b.uid ? -1 : 1))
}
