// The answer to "how is this agent": version, configuration, workers, kernel, counters.
import { release } from 'node:os'
import { LIMITS } from '../model/limits.ts'
import type { Tables, TableWorkload } from '../model/tables.ts'
import { dnsCounters, namedCounters } from './counter-names.ts'
import type { AdminPort } from './port.ts'
import type { Status } from './shapes.ts'

export function statusOf(port: AdminPort, nowMs: number): Status {
  const { about } = port
  const tables = port.tables()
  const counters = port.counters()
  const local = tables === undefined ? [] : localWorkloads(tables, about.node)
  const certificates = port.certificates()
  const count = (state: string): number =>
    certificates.filter((certificate) => certificate.state === state).length
  return {
    version: about.version,
    node: about.node,
    pid: about.pid,
    startedAt: new Date(about.startedMs).toISOString(),
    uptimeMs: Math.max(0, nowMs - about.startedMs),
    config: configOf(port, tables),
    workers: port.workers(),
    kernel: { release: release(), forms: port.kernelForms() },
    workloads: {
      known: tables?.workloads.size ?? 0,
      local: local.length,
      enrolled: local.filter((workload) => port.enrolment(workload).enrolled).length,
    },
    services: tables?.services.size ?? 0,
    policies: tables?.policies.size ?? 0,
    certificates: {
      valid: count('valid'),
      awaited: count('awaited'),
      failing: certificates.filter(({ failures }) => failures > 0).length,
    },
    counters: namedCounters(counters),
    dns: dnsCounters(counters),
  }
}

/** Those that run on this node and are in the mesh. */
export function localWorkloads(tables: Tables, node: string): TableWorkload[] {
  return [...tables.workloads.values()].filter(
    (workload) => workload.node === node && workload.tunnel === 'hbone',
  )
}

function configOf(port: AdminPort, tables: Tables | undefined): Status['config'] {
  const { issues, refusal } = port.config()
  const isBehind = refusal !== undefined || issues.some(({ severity }) => severity === 'error')
  const version = tables?.version ?? 0
  return {
    version,
    state: version === 0 ? 'none' : isBehind ? 'last-good' : 'in-force',
    ...(refusal === undefined ? {} : { refusal }),
    issues: issues.slice(0, LIMITS.issuesShownMax),
    issuesLeftOut: Math.max(0, issues.length - LIMITS.issuesShownMax),
  }
}
