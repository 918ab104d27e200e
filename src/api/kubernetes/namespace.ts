// Kubernetes Namespace: only its labels and annotations matter to the mesh.
import { irrelevant, type KindDefinition, object } from '../schema.ts'

export type NamespaceSpec = Readonly<Record<string, never>>

export const NAMESPACE: KindDefinition<'Namespace', NamespaceSpec> = {
  kind: 'Namespace',
  group: '',
  versions: ['v1'],
  scope: 'cluster',
  fields: {
    spec: object(irrelevant('finalizers')),
    status: object(irrelevant('phase conditions')),
  },
  unknownFields: 'warning',
  nullMeansAbsent: true,
  parse: () => ({}),
}
