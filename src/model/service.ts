// A service: a name and virtual addresses in front of endpoints. Endpoints are found only through
// `Workload.services` (as in WDS); a service never lists them.

export type PortProtocol = 'tcp' | 'udp' | 'http' | 'http2' | 'grpc' | 'tls' | 'undeclared'

export interface ServicePort {
  readonly port: number
  /** 0 when each endpoint names its own (a named target port). */
  readonly targetPort: number
  readonly name: string
  readonly protocol: PortProtocol
}

export interface Service {
  /** `namespace/hostname`, unique. */
  readonly key: string
  readonly name: string
  readonly namespace: string
  readonly hostname: string
  /** Virtual addresses: canonical IPs, or ranges (`10.0.0.0/24`) of ServiceEntries. */
  readonly vips: readonly string[]
  /** The mesh gave it its virtual addresses, because nobody else did. */
  readonly assigned: boolean
  readonly ports: readonly ServicePort[]
  /** Extra SPIFFE identities accepted from its endpoints. */
  readonly subjectAltNames: readonly string[]
  /** `static`: its endpoints; `none`: the original destination (ServiceEntry resolution NONE). */
  readonly resolution: 'static' | 'none'
  readonly external: boolean
  /** Annotated `weft.dev/path: direct`, which declares undeclared ports eligible. */
  readonly annotatedDirect: boolean
  /** Include endpoints that are not healthy (Service `publishNotReadyAddresses`). */
  readonly allowUnhealthy: boolean
}
