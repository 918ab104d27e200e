// What an agent is told when it starts.

export interface AgentOptions {
  /** The mesh's configuration directory, shared by its agents. */
  readonly configDirectory: string
  /** Name of this node in the mesh; `Pod.spec.nodeName` and `weft.dev/node` refer to it. */
  readonly nodeName: string
  /** Stable parent cgroup of the agent's processes (`weft-agent.slice`). */
  readonly agentCgroup: string
  /** The cgroup whose subtree is watched and captured. */
  readonly workloadsCgroup: string
  /** bpffs directory of this agent. */
  readonly pins: string
  /** What must outlive the process but not a reboot: workload ids, enrolment marks. */
  readonly stateDirectory: string
  /** What should outlive a reboot too: the last good configuration, addresses given to services. */
  readonly memoryDirectory: string
  /** Directory of the embedded CA; by default `ca` below the configuration directory. */
  readonly caDirectory: string
  /** A file, or '-' for standard output. */
  readonly accessLog: string
  /** Data-plane threads, 1 to LIMITS.workersMax. */
  readonly workers: number
  readonly logLevel: 'error' | 'warn' | 'info' | 'debug'
}
