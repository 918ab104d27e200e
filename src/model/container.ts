// A container of this node, as the runtime that started it tells.

export interface ContainerFacts {
  /** As the runtime gave it: 64 hex digits, or what the user of an OCI runtime chose. */
  readonly id: string
  /** Every name it may be called by, none of which need be its own alone. */
  readonly names: readonly string[]
  /** Id of the container whose network it shares, the sandbox of its pod; else its own. */
  readonly sandbox: string
}
