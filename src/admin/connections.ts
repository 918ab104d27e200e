// Makes one answer of what the workers, and the kernel, know of connections: flows added up, each
// connection once, workloads with their nodes.
import { LATENCY_BOUNDS_MS } from '../base/histogram.ts'
import type { FlowLabels, LiveRow } from '../model/flow.ts'
import { LIMITS } from '../model/limits.ts'
import type { Tables } from '../model/tables.ts'
import type { DirectFlows } from './direct-flows.ts'
import { FlowSum, sumOf } from './flow-sum.ts'
import { onceEach } from './once.ts'
import type { LiveDirect, SurveyFacts } from './port.ts'
import type { ConnectionEnds, Connections } from './shapes.ts'

export interface ConnectionFactsNow {
  readonly node: string
  readonly atMs: number
  readonly survey: SurveyFacts
  readonly live: readonly LiveDirect[]
  readonly direct: DirectFlows
  readonly tables: Tables | undefined
}

export interface ConnectionsAsked {
  readonly live: boolean
  /** Both ends' views of tunnels that begin and end here. */
  readonly bothEnds: boolean
}

export function connectionsOf(facts: ConnectionFactsNow, asked: ConnectionsAsked): Connections {
  const { survey, direct, tables } = facts
  const sum = new FlowSum()
  for (const slice of survey.slices) for (const row of slice.flows) sum.add(row)
  const directLive = direct.addTo(sum, facts.live, tables)
  const all = sum.rows()
  const flows = asked.bothEnds ? all : onceEach(all)
  const others = sumOf([...survey.slices.map((slice) => slice.others), direct.table.others])
  const forgotten = survey.slices.reduce((total, slice) => total + slice.forgotten, 0)
  return {
    node: facts.node,
    atMs: facts.atMs,
    latencyBoundsMs: LATENCY_BOUNDS_MS,
    flows: flows.slice(0, LIMITS.flowsShownMax).map((row) => placed(row, tables)),
    flowsLeftOut: Math.max(0, flows.length - LIMITS.flowsShownMax),
    ...(others === undefined ? {} : { others }),
    forgotten: forgotten + direct.table.forgotten,
    silentWorkers: survey.silent,
    ...(asked.live ? liveOf(facts, directLive, asked.bothEnds ? undefined : all) : {}),
  }
}

function liveOf(
  { survey, tables }: ConnectionFactsNow,
  directLive: readonly LiveRow[],
  told: readonly FlowLabels[] | undefined,
): Pick<Connections, 'live' | 'liveLeftOut'> {
  const rows = [...survey.slices.flatMap(({ connections }) => connections), ...directLive]
  const shown = told === undefined ? rows : onceEach(rows, told)
  const leftOut = survey.slices.reduce((total, slice) => total + slice.connectionsLeftOut, 0)
  return {
    live: shown.slice(0, LIMITS.liveShownMax).map((row) => placed(row, tables)),
    liveLeftOut: leftOut + Math.max(0, shown.length - LIMITS.liveShownMax),
  }
}

function placed<T extends FlowLabels>(row: T, tables: Tables | undefined): T & ConnectionEnds {
  const nodeOf = (uid: string | undefined): { readonly node?: string } => {
    const node = uid === undefined ? undefined : tables?.workloads.get(uid)?.node
    return node === undefined || node === '' ? {} : { node }
  }
  return {
    ...row,
    source: { ...row.source, ...nodeOf(row.source.uid) },
    destination: { ...row.destination, ...nodeOf(row.destination.uid) },
  }
}
