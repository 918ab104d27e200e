// What becomes of a question: answered by the mesh, for the resolver that was asked, or ignored.
import type { Random } from '../../base/random.ts'
import type { LocalPod } from '../../model/messages.ts'
import type { DnsMeter } from '../../telemetry/dns-cells.ts'
import type { TablesView } from '../tables-view.ts'
import { answerTo } from './answer.ts'
import { type Query, readQuery } from './query.ts'
import { writeAnswer } from './response.ts'

export interface DecideParts {
  readonly view: TablesView
  readonly random: Random
  readonly meter: DnsMeter
}

export type Decision =
  /** `lasting`: the same bytes, but for the ID, get the same answer until the tables change. */
  | { readonly kind: 'answer'; readonly answer: Buffer; readonly lasting: boolean }
  | { readonly kind: 'forward'; readonly query: Query }
  | { readonly kind: 'silence' }

/** `bytesMax`: how long an answer may be. */
export function decide(
  question: Buffer,
  bytesMax: (query: Query) => number,
  pod: LocalPod,
  { view, random, meter }: DecideParts,
): Decision {
  meter.count('questions')
  const read = readQuery(question)
  if (read.kind !== 'query') meter.count('malformed')
  if (read.kind === 'ignored') return { kind: 'silence' }
  if (read.kind === 'malformed') return { kind: 'answer', answer: read.answer, lasting: false }
  const tables = view.current
  const workload = tables?.workloads.get(pod.uid)
  // It will ask again; a name of the mesh must not go to a resolver meanwhile.
  if (tables === undefined || workload === undefined) {
    meter.count('unready')
    return { kind: 'silence' }
  }
  const { query } = read
  const { namespace } = workload
  const v6 = pod.addresses.some((ip) => ip.includes(':'))
  const v4 = pod.addresses.some((ip) => !ip.includes(':'))
  const answer = answerTo(tables, { namespace, v4, v6 }, query, random)
  if (answer === undefined) return { kind: 'forward', query }
  meter.count('answered')
  const bytes = writeAnswer(query, answer, bytesMax(query))
  return { kind: 'answer', answer: bytes, lasting: query.plain && answer.lasting }
}
