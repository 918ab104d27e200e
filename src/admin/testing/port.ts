// An agent that exists only as facts, for tests of the admin API.

import { emptyCounts } from '../../base/histogram.ts'
import { PersistentMap } from '../../base/persistent-map.ts'
import type { FlowEnd, FlowRow, SurveySlice } from '../../model/flow.ts'
import { DEFAULT_MESH_SETTINGS } from '../../model/mesh-settings.ts'
import type { TableService, Tables, TableWorkload } from '../../model/tables.ts'
import { plainWorkload } from '../../model/testing/workload.ts'
import type { AdminPort } from '../port.ts'

export function tableWorkload(name: string, more: Partial<TableWorkload> = {}): TableWorkload {
  return {
    ...plainWorkload(name, { uid: `uid-${name}` }),
    policies: [],
    peer: { mode: 'strict', ports: {}, by: 'default' },
    ...more,
  }
}

export function tablesWith(
  workloads: readonly TableWorkload[],
  services: readonly TableService[] = [],
): Tables {
  return {
    version: 3,
    mesh: DEFAULT_MESH_SETTINGS,
    workloads: PersistentMap.from(workloads.map((each) => [each.uid, each] as const)),
    services: PersistentMap.from(services.map((each) => [each.key, each] as const)),
    policies: PersistentMap.empty(),
    workloadByIp: PersistentMap.empty(),
    serviceByVip: PersistentMap.from(
      services.flatMap(({ key, vips }) => vips.map((vip) => [vip, key] as const)),
    ),
    serviceByRange: PersistentMap.empty(),
    serviceByHost: PersistentMap.empty(),
  }
}

export function flowRow(from: FlowEnd, to: FlowEnd, more: Partial<FlowRow> = {}): FlowRow {
  return {
    direction: 'outbound',
    path: 'tunnel',
    source: from,
    destination: { ...to, port: 80 },
    opened: 1,
    open: 1,
    failed: {},
    sentBytes: 0,
    receivedBytes: 0,
    latency: emptyCounts(),
    ...more,
  }
}

export const sliceOf = (more: Partial<SurveySlice>): SurveySlice => ({
  flows: [],
  connections: [],
  connectionsLeftOut: 0,
  others: undefined,
  forgotten: 0,
  isLast: true,
  ...more,
})

export function adminPort(more: Partial<AdminPort> = {}): AdminPort {
  return {
    about: { version: '1.2.3', node: 'one', pid: 7, startedMs: 1_000 },
    config: () => ({ issues: [], refusal: undefined }),
    workers: () => ({ wanted: 2, alive: [0, 1] }),
    counters: () => ({}),
    kernelForms: () => ({ guard: 'tcx' }),
    tables: () => undefined,
    enrolment: () => ({ enrolled: true }),
    listeningPorts: () => new Map(),
    certificates: () => [],
    survey: async () => ({ slices: [], silent: [] }),
    liveDirect: async () => [],
    ...more,
  }
}
