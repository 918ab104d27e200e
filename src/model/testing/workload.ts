// A plain workload of node "one" for tests that care for a few of its fields only.
import type { Workload } from '../workload.ts'

export function plainWorkload(name: string, more: Partial<Workload> = {}): Workload {
  return {
    uid: name,
    name,
    namespace: 'shop',
    addresses: ['10.0.0.1'],
    trustDomain: 'cluster.local',
    serviceAccount: name,
    node: 'one',
    network: '',
    clusterId: '',
    labels: {},
    tunnel: 'hbone',
    hostNetwork: false,
    status: 'healthy',
    capacity: 1,
    locality: { region: '', zone: '', subzone: '' },
    services: {},
    workloadName: name,
    workloadType: 'pod',
    canonicalName: name,
    canonicalRevision: '',
    directPorts: [],
    ...more,
  }
}
