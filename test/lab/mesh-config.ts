// Writes the mesh's configuration for lab pods: the YAML that a user would write.
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { HostService } from './host-service.ts'
import type { Pod } from './pod.ts'

/** A resource as written: apiVersion, kind, metadata and the rest. */
export interface Resource {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
  }
  readonly [field: string]: unknown
}

export interface ServicePort {
  readonly name?: string
  readonly port: number
  readonly targetPort?: number
  /** Kubernetes' `appProtocol`; `tcp` makes the port a candidate of the direct path. */
  readonly appProtocol?: string
  /** Default `TCP`. */
  readonly protocol?: 'UDP'
}

export class MeshConfig {
  readonly directory: string

  constructor(directory: string) {
    this.directory = directory
    mkdirSync(directory, { recursive: true })
  }

  /** Writes one file, replacing it at once: a watcher never sees half of it. */
  write(file: string, resources: readonly Resource[]): void {
    this.writeText(file, resources.map((each) => stringify(each)).join('---\n'))
  }

  writeText(file: string, text: string): void {
    // Not `.yaml`, so that a watcher of YAML files ignores it.
    const temporary = join(this.directory, `.${file}.part`)
    writeFileSync(temporary, text)
    renameSync(temporary, join(this.directory, file))
  }

  remove(file: string): void {
    rmSync(join(this.directory, file), { force: true })
  }
}

export function namespace(name: string, labels: Readonly<Record<string, string>> = {}): Resource {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }
}

/** The Pod of a lab pod, bound to its cgroup. */
export function podResource(pod: Pod): Resource {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: pod.name,
      namespace: pod.namespace,
      labels: pod.labels,
      annotations: {
        'weft.dev/match': `cgroup=${pod.namespace}_${pod.name}`,
        ...pod.annotations,
      },
    },
    spec: { nodeName: pod.node, serviceAccountName: pod.serviceAccount },
    status: {
      phase: 'Running',
      podIP: pod.ip,
      podIPs: pod.addresses.map((ip) => ({ ip })),
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  }
}

/** The WorkloadEntry of a node's service, bound to its cgroup. */
export function hostResource(service: HostService): Resource {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadEntry',
    metadata: {
      name: service.name,
      namespace: service.namespace,
      labels: service.labels,
      annotations: {
        'weft.dev/node': service.node,
        'weft.dev/cgroup': service.cgroupPath,
        ...service.annotations,
      },
    },
    spec: {
      address: service.ip,
      serviceAccount: service.serviceAccount,
      ports: service.ports,
    },
  }
}

export interface ServiceOptions {
  readonly namespace?: string
  readonly selector: Readonly<Record<string, string>>
  readonly ports: readonly ServicePort[]
  /** Virtual addresses, or 'None' for a headless service. */
  readonly clusterIPs: readonly string[]
  readonly annotations?: Readonly<Record<string, string>>
}

export function service(name: string, options: ServiceOptions): Resource {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name,
      namespace: options.namespace ?? 'default',
      ...(options.annotations === undefined ? {} : { annotations: options.annotations }),
    },
    spec: {
      clusterIP: options.clusterIPs[0],
      clusterIPs: options.clusterIPs,
      selector: options.selector,
      ports: options.ports.map((port) => ({ protocol: 'TCP', ...port })),
    },
  }
}

/** `spec` as Istio's PeerAuthentication has it. */
export function peerAuthentication(name: string, namespace: string, spec: object): Resource {
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'PeerAuthentication',
    metadata: { name, namespace },
    spec,
  }
}

/** `spec` as Istio's AuthorizationPolicy has it. */
export function authorizationPolicy(name: string, namespace: string, spec: object): Resource {
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace },
    spec,
  }
}

/** `spec` as Weft's MeshConfig has it, e.g. `{ directPath: 'off' }`. */
export function meshConfig(spec: object): Resource {
  return { apiVersion: 'weft.dev/v1', kind: 'MeshConfig', metadata: { name: 'default' }, spec }
}
