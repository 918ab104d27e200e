// The catalogue of endings: every connection that ends says why with one of these, and each column
// feeds one audience: HTTP, HBONE and gRPC statuses, log flags, metric labels, BPF numbers.

export interface ReasonInfo {
  /** Stable number, shared with `bpf/include/abi.h`. */
  readonly number: number
  /** Whose doing the ending was. */
  readonly side: 'mesh' | 'downstream' | 'upstream' | 'none'
  readonly http: number
  /** Status of the CONNECT response while none has been sent. Source: ztunnel `inbound.rs`. */
  readonly hbone: number
  readonly grpc: number
  /** Response flag of L4 metrics. Source: ztunnel `metrics.rs`. */
  readonly flagL4: string
  /** Response flag of L7 logs. Source: Envoy access log `RESPONSE_FLAGS`. */
  readonly flagL7: string
  /** Whether another endpoint may be tried while no byte was sent. */
  readonly retryable: boolean
  readonly text: string
}

// biome-ignore format: one row per reason reads as a table
export const REASONS = {
  'completed':            { number: 0,  side: 'none',       http: 200, hbone: 200, grpc: 0,  flagL4: '-',                    flagL7: '-',   retryable: false, text: 'both sides finished' },
  'policy-denied':        { number: 16, side: 'mesh',       http: 403, hbone: 401, grpc: 7,  flagL4: 'DENY',                 flagL7: '-',   retryable: false, text: 'an authorization policy denied the connection' },
  'plaintext-denied':     { number: 17, side: 'mesh',       http: 403, hbone: 401, grpc: 7,  flagL4: 'DENY',                 flagL7: '-',   retryable: false, text: 'plaintext is not accepted here (PeerAuthentication STRICT)' },
  'policy-changed':       { number: 18, side: 'mesh',       http: 403, hbone: 401, grpc: 7,  flagL4: 'DENY',                 flagL7: '-',   retryable: false, text: 'connection closed due to policy change' },
  'unknown-source':       { number: 19, side: 'mesh',       http: 503, hbone: 503, grpc: 14, flagL4: 'DENY',                 flagL7: 'NC',  retryable: false, text: 'the calling workload is not known to this node' },
  'outbound-refused':     { number: 20, side: 'mesh',       http: 502, hbone: 503, grpc: 14, flagL4: 'DENY',                 flagL7: 'NR',  retryable: false, text: 'the destination is outside the mesh (outboundTrafficPolicy REGISTRY_ONLY)' },
  'illegal-port':         { number: 21, side: 'mesh',       http: 503, hbone: 503, grpc: 14, flagL4: 'DENY',                 flagL7: 'NR',  retryable: false, text: 'the destination port belongs to the mesh itself' },
  'bad-request':          { number: 22, side: 'downstream', http: 400, hbone: 400, grpc: 3,  flagL4: 'CONNECT',              flagL7: 'DPE', retryable: false, text: 'the tunnel request is malformed or names another workload' },
  'original-unknown':     { number: 23, side: 'mesh',       http: 503, hbone: 503, grpc: 14, flagL4: 'CONNECT',              flagL7: 'NR',  retryable: false, text: 'the original destination could not be recovered' },
  'unknown-workload':     { number: 24, side: 'mesh',       http: 503, hbone: 503, grpc: 14, flagL4: 'CONNECT',              flagL7: 'NC',  retryable: false, text: 'the destination workload is not known to this node' },
  'overloaded':           { number: 25, side: 'mesh',       http: 503, hbone: 503, grpc: 8,  flagL4: 'CONNECT',              flagL7: 'UO',  retryable: true,  text: 'a limit of the node proxy was reached' },
  'draining':             { number: 26, side: 'mesh',       http: 503, hbone: 503, grpc: 14, flagL4: 'CONNECT',              flagL7: 'UC',  retryable: true,  text: 'the agent is shutting down' },
  'workload-removed':     { number: 27, side: 'mesh',       http: 503, hbone: 503, grpc: 14, flagL4: 'CONNECT',              flagL7: 'UC',  retryable: false, text: 'the workload left this node' },
  'not-enrolled':         { number: 28, side: 'mesh',       http: 503, hbone: 503, grpc: 14, flagL4: 'DENY',                 flagL7: '-',   retryable: false, text: 'the process is below a watched cgroup but is not a known workload' },
  'no-endpoint':          { number: 32, side: 'upstream',   http: 503, hbone: 503, grpc: 14, flagL4: 'CONNECT',              flagL7: 'UH',  retryable: false, text: 'the service has no healthy endpoint' },
  'connect-failed':       { number: 33, side: 'upstream',   http: 503, hbone: 503, grpc: 14, flagL4: 'CONNECT',              flagL7: 'UF',  retryable: true,  text: 'the endpoint refused or did not answer' },
  'tls-failed':           { number: 34, side: 'upstream',   http: 503, hbone: 503, grpc: 14, flagL4: 'TLS_FAILURE',          flagL7: 'UF',  retryable: true,  text: 'the TLS handshake failed' },
  'identity-mismatch':    { number: 35, side: 'upstream',   http: 503, hbone: 503, grpc: 16, flagL4: 'IDENTITY_ERROR',       flagL7: 'UF',  retryable: true,  text: 'the peer presented another identity than expected' },
  'identity-invalid':     { number: 36, side: 'downstream', http: 401, hbone: 401, grpc: 16, flagL4: 'TLS_FAILURE',          flagL7: 'DC',  retryable: false, text: 'the client certificate is absent or not acceptable' },
  'h2-failed':            { number: 37, side: 'upstream',   http: 503, hbone: 503, grpc: 14, flagL4: 'H2_HANDSHAKE_FAILURE', flagL7: 'UPE', retryable: true,  text: 'the tunnel session failed' },
  'peer-refused':         { number: 38, side: 'upstream',   http: 503, hbone: 503, grpc: 14, flagL4: 'CONNECT',              flagL7: 'UF',  retryable: true,  text: 'the destination agent could not reach the workload' },
  'peer-denied':          { number: 39, side: 'upstream',   http: 403, hbone: 401, grpc: 7,  flagL4: 'DENY',                 flagL7: '-',   retryable: false, text: 'the destination agent denied the connection' },
  'upstream-reset':       { number: 40, side: 'upstream',   http: 503, hbone: 503, grpc: 14, flagL4: 'CONNECT',              flagL7: 'UC',  retryable: false, text: 'the server reset the connection' },
  'downstream-reset':     { number: 41, side: 'downstream', http: 499, hbone: 503, grpc: 1,  flagL4: 'CONNECT',              flagL7: 'DC',  retryable: false, text: 'the client reset the connection' },
  'idle-timeout':         { number: 42, side: 'mesh',       http: 408, hbone: 503, grpc: 4,  flagL4: 'CONNECT',              flagL7: 'SI',  retryable: false, text: 'no byte moved for the idle timeout' },
  'identity-unavailable': { number: 43, side: 'mesh',       http: 503, hbone: 503, grpc: 14, flagL4: 'IDENTITY_ERROR',       flagL7: 'UF',  retryable: false, text: 'the workload has no valid certificate' },
  'enrolled-late':        { number: 44, side: 'mesh',       http: 503, hbone: 503, grpc: 14, flagL4: 'DENY',                 flagL7: '-',   retryable: false, text: 'the connection is older than the workload\'s enrolment' },
  'internal':             { number: 63, side: 'mesh',       http: 500, hbone: 503, grpc: 13, flagL4: 'CONNECT',              flagL7: '-',   retryable: false, text: 'a defect in the node proxy; the log has the stack' },
} as const satisfies Record<string, ReasonInfo>

export type Reason = keyof typeof REASONS

const BY_NUMBER: ReadonlyMap<number, Reason> = new Map(
  Object.entries(REASONS).map(([name, info]) => [info.number, name as Reason]),
)

/** The reason a BPF program wrote; an unknown number is a defect and reads as `internal`. */
export function reasonOfNumber(number: number): Reason {
  return BY_NUMBER.get(number) ?? 'internal'
}
