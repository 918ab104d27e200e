// Istio WorkloadGroup: a template for WorkloadEntries. An entry takes from it what it does not say
// itself when its annotation `weft.dev/workload-group` (or istiod's `istio.io/autoRegistrationGroup`)
// names the group; a group may name another group in the same way.
import { checkAnnotations } from '../annotations.ts'
import { type KindDefinition, notHonoured, object, TEXT_MAP } from '../schema.ts'
import { parseTemplate, TEMPLATE_FIELDS, type WorkloadTemplate } from './workload-entry.ts'

export interface WorkloadGroupSpec {
  readonly template: WorkloadTemplate
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

interface RawWorkloadGroup {
  readonly spec: {
    readonly metadata?: {
      readonly labels?: Readonly<Record<string, string>>
      readonly annotations?: Readonly<Record<string, string>>
    }
    readonly template: Partial<WorkloadTemplate>
  }
}

export const WORKLOAD_GROUP: KindDefinition<'WorkloadGroup', WorkloadGroupSpec> = {
  kind: 'WorkloadGroup',
  group: 'networking.istio.io',
  versions: ['v1', 'v1beta1', 'v1alpha3'],
  scope: 'namespace',
  fields: {
    spec: object(
      {
        metadata: object({ labels: TEXT_MAP, annotations: TEXT_MAP }),
        template: object(TEMPLATE_FIELDS),
        probe: notHonoured('workloads are not probed yet; all of them count as healthy'),
      },
      ['template'],
    ),
    status: true,
  },
  required: ['spec'],
  unknownFields: 'warning',
  nullMeansAbsent: false,
  parse(object, _metadata, report) {
    const { spec } = object as unknown as RawWorkloadGroup
    // They become annotations of the entries, and are judged as such.
    checkAnnotations('WorkloadEntry', spec.metadata?.annotations ?? {}, (severity, path, message) =>
      report(severity, ['spec', ...path], message),
    )
    return {
      template: parseTemplate(spec.template),
      labels: spec.metadata?.labels ?? {},
      annotations: spec.metadata?.annotations ?? {},
    }
  },
}
