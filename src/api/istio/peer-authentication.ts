// Istio PeerAuthentication: whether plaintext is accepted, for the mesh, a namespace or workloads.
import type { PeerAuthentication } from '../../model/registry.ts'
import { type KindDefinition, object, oneOf, TEXT_MAP } from '../schema.ts'

type Mode = PeerAuthentication['mode']

export interface PeerAuthenticationSpec {
  /** Undefined: the whole namespace, or the whole mesh in the root namespace. */
  readonly selector?: Readonly<Record<string, string>>
  readonly mode: Mode
  /** By workload port. */
  readonly ports: Readonly<Record<string, Mode>>
}

interface RawPeerAuthentication {
  readonly spec?: {
    readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> }
    readonly mtls?: { readonly mode?: string }
    readonly portLevelMtls?: Readonly<Record<string, { readonly mode?: string }>>
  }
}

const MTLS = object({ mode: oneOf('UNSET', 'STRICT', 'PERMISSIVE', 'DISABLE') })

const modeOf = (raw: { readonly mode?: string } | undefined): Mode =>
  (raw?.mode ?? 'UNSET').toLowerCase() as Mode

export const PEER_AUTHENTICATION: KindDefinition<'PeerAuthentication', PeerAuthenticationSpec> = {
  kind: 'PeerAuthentication',
  group: 'security.istio.io',
  versions: ['v1', 'v1beta1'],
  scope: 'namespace',
  fields: {
    spec: object({
      selector: object({ matchLabels: TEXT_MAP }),
      mtls: MTLS,
      portLevelMtls: { type: 'object', additionalProperties: MTLS },
    }),
    status: true,
  },
  unknownFields: 'error',
  nullMeansAbsent: false,
  parse(object, _metadata, report) {
    const { spec = {} } = object as unknown as RawPeerAuthentication
    const labels = spec.selector?.matchLabels ?? {}
    const selects = Object.keys(labels).length > 0
    const ports = Object.entries(spec.portLevelMtls ?? {})
    for (const [port] of ports) {
      if (/^[1-9][0-9]{0,4}$/.test(port) && Number(port) <= 65535) continue
      const path = ['spec', 'portLevelMtls', port]
      report('error', path, `expected a port number of the workload, found "${port}"`)
    }
    if (ports.length > 0 && !selects) {
      const remedy = 'add "selector.matchLabels", or use "mtls" for all ports'
      report('error', ['spec', 'portLevelMtls'], `holds only for selected workloads; ${remedy}`)
    }
    return {
      ...(selects ? { selector: labels } : {}),
      mode: modeOf(spec.mtls),
      ports: Object.fromEntries(ports.map(([port, mtls]) => [port, modeOf(mtls)])),
    }
  },
}
