// Kubernetes ServiceAccount: its existence is all the mesh reads; the name becomes an identity.
import { irrelevant, type KindDefinition } from '../schema.ts'

export type ServiceAccountSpec = Readonly<Record<string, never>>

export const SERVICE_ACCOUNT: KindDefinition<'ServiceAccount', ServiceAccountSpec> = {
  kind: 'ServiceAccount',
  group: '',
  versions: ['v1'],
  scope: 'namespace',
  fields: irrelevant('secrets imagePullSecrets automountServiceAccountToken'),
  unknownFields: 'warning',
  nullMeansAbsent: true,
  parse: () => ({}),
}
