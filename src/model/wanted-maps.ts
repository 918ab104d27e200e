// What the kernel should know, said without BPF: made by `compile`, written by `kernel`.

export interface WantedBackend {
  readonly ip: string
  readonly port: number
  /** uid of a workload of this node. */
  readonly workload: string
}

/** An address whose connections may be completed by the kernel, and to where. */
export interface WantedService {
  readonly ip: string
  readonly port: number
  readonly protocol: 'tcp' | 'udp'
  readonly backends: readonly WantedBackend[]
}

/** `agent`: the kernel cannot decide, take the agent. A missing entry means the same. */
export interface WantedVerdict {
  /** uid, or '*' for every source. */
  readonly source: string
  readonly destination: string
  /** Workload port, or 0 for every port without an entry of its own. */
  readonly port: number
  readonly verdict: 'allow' | 'deny' | 'agent'
}

/** More specific entries win: (source, port), (source, 0), ('*', port), ('*', 0). */
export interface WantedMaps {
  readonly version: number
  readonly services: readonly WantedService[]
  readonly verdicts: readonly WantedVerdict[]
}
