// Kubernetes Pod: a workload with an address, a node and a service account.
import { canonicalIp } from '../../base/ip.ts'
import {
  BOOLEAN,
  irrelevant,
  type KindDefinition,
  listOf,
  must,
  object,
  oneOf,
  TEXT,
} from '../schema.ts'

export interface ContainerPort {
  readonly name: string
  readonly port: number
  readonly protocol: 'TCP' | 'UDP' | 'SCTP'
}

export interface PodSpec {
  /** Canonical, in the order written; empty while unknown. */
  readonly addresses: readonly string[]
  readonly node: string
  readonly serviceAccount: string
  readonly hostNetwork: boolean
  readonly ports: readonly ContainerPort[]
  readonly ready: boolean
  /** Succeeded or Failed: it has given its address back. */
  readonly finished: boolean
  readonly owner?: { readonly kind: string; readonly name: string }
}

interface RawContainer {
  readonly ports?: readonly {
    readonly name?: string
    readonly containerPort: number
    readonly protocol?: ContainerPort['protocol']
  }[]
}

interface RawPod {
  readonly spec: {
    readonly nodeName?: string
    readonly serviceAccountName?: string
    readonly serviceAccount?: string
    readonly hostNetwork?: boolean
    readonly containers?: readonly RawContainer[]
    readonly initContainers?: readonly RawContainer[]
  }
  readonly status?: {
    readonly phase?: string
    readonly podIP?: string
    readonly podIPs?: readonly { readonly ip: string }[]
    readonly conditions?: readonly { readonly type: string; readonly status: string }[]
  }
}

const CONTAINER = object({
  name: TEXT,
  ports: listOf(
    object(
      {
        name: TEXT,
        containerPort: must('port'),
        protocol: oneOf('TCP', 'UDP', 'SCTP'),
        hostPort: true,
        hostIP: true,
      },
      ['containerPort'],
    ),
  ),
  ...irrelevant(`image command args workingDir env envFrom resources resizePolicy restartPolicy
    restartPolicyRules volumeMounts volumeDevices livenessProbe readinessProbe startupProbe
    lifecycle terminationMessagePath terminationMessagePolicy imagePullPolicy securityContext stdin
    stdinOnce tty`),
})

const SPEC = object({
  nodeName: TEXT,
  serviceAccountName: must('dnsName'),
  serviceAccount: must('dnsName'),
  hostNetwork: BOOLEAN,
  containers: listOf(CONTAINER),
  initContainers: listOf(CONTAINER),
  ...irrelevant(`volumes ephemeralContainers restartPolicy terminationGracePeriodSeconds
    activeDeadlineSeconds dnsPolicy nodeSelector automountServiceAccountToken hostPID hostIPC
    shareProcessNamespace securityContext imagePullSecrets hostname subdomain affinity schedulerName
    tolerations hostAliases priorityClassName priority dnsConfig readinessGates runtimeClassName
    enableServiceLinks preemptionPolicy overhead topologySpreadConstraints setHostnameAsFQDN os
    hostUsers schedulingGates resourceClaims resources hostnameOverride`),
})

const STATUS = object({
  phase: oneOf('Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'),
  podIP: must('ip'),
  podIPs: listOf(object({ ip: must('ip') }, ['ip'])),
  conditions: listOf({
    type: 'object',
    properties: { type: TEXT, status: TEXT },
    required: ['type', 'status'],
  }),
  ...irrelevant(`hostIP hostIPs startTime qosClass message reason nominatedNodeName
    observedGeneration containerStatuses initContainerStatuses ephemeralContainerStatuses resize
    resourceClaimStatuses allocatedResources resources`),
})

export const POD: KindDefinition<'Pod', PodSpec> = {
  kind: 'Pod',
  group: '',
  versions: ['v1'],
  scope: 'namespace',
  fields: { spec: SPEC, status: STATUS },
  required: ['spec'],
  unknownFields: 'warning',
  nullMeansAbsent: true,
  parse(object, metadata) {
    const { spec, status = {} } = object as unknown as RawPod
    const listed = (status.podIPs ?? []).map(({ ip }) => ip)
    const written = listed.length > 0 ? listed : status.podIP === undefined ? [] : [status.podIP]
    const containers = [...(spec.containers ?? []), ...(spec.initContainers ?? [])]
    const owner = metadata.ownerReferences?.[0]
    const condition = status.conditions?.find(({ type }) => type === 'Ready')
    const running = status.phase === undefined || status.phase === 'Running'
    return {
      addresses: written.flatMap((ip) => canonicalIp(ip) ?? []),
      node: spec.nodeName ?? '',
      serviceAccount: spec.serviceAccountName ?? spec.serviceAccount ?? 'default',
      hostNetwork: spec.hostNetwork ?? false,
      ports: containers.flatMap(({ ports = [] }) =>
        ports.map(({ name = '', containerPort, protocol = 'TCP' }) => ({
          name,
          port: containerPort,
          protocol,
        })),
      ),
      ready:
        running &&
        metadata.deletionTimestamp === undefined &&
        (condition === undefined || condition.status === 'True'),
      finished: status.phase === 'Succeeded' || status.phase === 'Failed',
      ...(owner === undefined ? {} : { owner: { kind: owner.kind, name: owner.name } }),
    }
  },
}
