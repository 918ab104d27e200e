// Istio WorkloadEntry: a workload that is no pod, and also the form of a ServiceEntry's endpoints
// and of a WorkloadGroup's template.
import { canonicalIp } from '../../base/ip.ts'
import type { FieldPath, Report } from '../issue.ts'
import {
  type KindDefinition,
  mapOf,
  must,
  object,
  type Properties,
  TEXT,
  TEXT_MAP,
} from '../schema.ts'

/** Everything a WorkloadEntry may leave to its WorkloadGroup is optional. */
export interface WorkloadTemplate {
  /** Port numbers by the name of the service's port. */
  readonly ports: Readonly<Record<string, number>>
  readonly labels: Readonly<Record<string, string>>
  readonly network?: string
  /** `region/zone/subzone`. */
  readonly locality?: string
  readonly weight?: number
  readonly serviceAccount?: string
}

export interface WorkloadEntrySpec extends WorkloadTemplate {
  /** Canonical. */
  readonly address: string
}

export const TEMPLATE_FIELDS: Properties = {
  ports: mapOf(must('port')),
  labels: TEXT_MAP,
  network: TEXT,
  locality: TEXT,
  weight: must('weight'),
  serviceAccount: must('dnsName'),
}

export const WORKLOAD_ENTRY_FIELDS: Properties = { address: must('nonEmpty'), ...TEMPLATE_FIELDS }

interface RawTemplate extends Partial<WorkloadTemplate> {
  readonly address?: string
}

export function parseTemplate(raw: RawTemplate): WorkloadTemplate {
  return {
    ports: raw.ports ?? {},
    labels: raw.labels ?? {},
    ...(raw.network === undefined ? {} : { network: raw.network }),
    ...(raw.locality === undefined ? {} : { locality: raw.locality }),
    ...(raw.weight === undefined ? {} : { weight: raw.weight }),
    ...(raw.serviceAccount === undefined ? {} : { serviceAccount: raw.serviceAccount }),
  }
}

/** `path` is where the entry stands: `spec`, or `spec.endpoints[0]` in a ServiceEntry. */
export function parseWorkloadEntry(
  raw: RawTemplate,
  path: FieldPath,
  report: Report,
): WorkloadEntrySpec {
  const written = raw.address ?? ''
  const address = canonicalIp(written)
  if (address === undefined) {
    const why = written.startsWith('unix://')
      ? 'Unix sockets cannot be tunnelled'
      : 'names are not resolved yet'
    report('error', [...path, 'address'], `expected an IP address, found "${written}": ${why}`)
  }
  return { address: address ?? '', ...parseTemplate(raw) }
}

export const WORKLOAD_ENTRY: KindDefinition<'WorkloadEntry', WorkloadEntrySpec> = {
  kind: 'WorkloadEntry',
  group: 'networking.istio.io',
  versions: ['v1', 'v1beta1', 'v1alpha3'],
  scope: 'namespace',
  fields: { spec: object(WORKLOAD_ENTRY_FIELDS, ['address']), status: true },
  required: ['spec'],
  unknownFields: 'warning',
  nullMeansAbsent: false,
  parse: (object, _metadata, report) =>
    parseWorkloadEntry((object as { spec: RawTemplate }).spec, ['spec'], report),
}
