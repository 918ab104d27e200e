// Every bound on a queue, loop or buffer, in one place. `bpf/include/limits.h` repeats the ones
// the kernel side needs; a test compares them.

export const LIMITS = {
  /** Data-plane workers of one agent. BPF. */
  workersMax: 16,
  /** Virtual ports that captured connections are spread over, so that one pod's ephemeral ports
   * do not run out. BPF. */
  capturePorts: 32,
  /** First virtual capture port. Nobody listens there: `lookup` assigns the real listener. BPF. */
  capturePortFirst: 15101,
  /** HBONE. Source: Istio ambient. BPF. */
  hbonePort: 15008,
  /** Workloads enrolled on one node. BPF. */
  podsMax: 1024,
  /** Live entries of `weft_attest`; full means the agent path. BPF. */
  attestMax: 65_536,
  /** Memory of original destinations between connect and accept. BPF. */
  originsMax: 65_536,
  /** Resolvers that one UDP socket may ask at once. BPF. */
  dnsSlots: 3,
  /** Host-network workloads and probers of one node, known by cgroup. BPF. */
  hostsMax: 1024,
  /** Names in the path of a host cgroup. BPF. */
  cgroupDepthMax: 10,
  /** Of each of those names: two less than the kernel side has room for. */
  cgroupNameBytesMax: 94,
  /** Ports of one node's own namespace that host-network workloads serve. BPF. */
  hostPortsMax: 16_384,

  /** Connections one worker serves at once. */
  connectionsPerWorkerMax: 50_000,
  /** Connections accepted from one listener before others get their turn. */
  acceptBatch: 64,
  /** Bytes read from one socket before they must be written on. */
  relayChunkBytes: 65_536,
  /** Bytes queued towards a slow reader before the other side is paused. */
  relayQueueBytesMax: 262_144,

  /** Streams of one tunnel session. Source: ztunnel POOL_MAX_STREAMS_PER_CONNECTION. */
  streamsPerSessionMax: 100,
  /** What a server announces. Source: ztunnel MAX_CONCURRENT_STREAMS. */
  serverStreamsMax: 200,
  /** Sessions one pool key may hold. */
  sessionsPerPeerMax: 64,
  /** Connections waiting for one session to come up. */
  pendingPerSessionMax: 4096,
  /** Handshakes one worker starts at once; more wait. */
  dialsAtOnceMax: 16,
  /** An unused session is closed. Source: ztunnel POOL_UNUSED_RELEASE_TIMEOUT. */
  sessionIdleMs: 300_000,
  pingIntervalMs: 10_000,
  pingTimeoutMs: 20_000,
  streamWindowBytes: 4_194_304,
  sessionWindowBytes: 16_777_216,
  frameBytesMax: 1_048_576,
  clientHeaderBytesMax: 16_384,
  serverHeaderBytesMax: 65_536,
  handshakeTimeoutMs: 10_000,
  /** Certificates of peers whose facts a worker remembers. */
  certificatesHeldMax: 1_024,
  /** Endpoints tried for one connection while no byte was sent. */
  connectAttemptsMax: 3,
  /** How long an inbound connection waits for its workload to become known. Source: ztunnel. */
  workloadWaitMs: 5_000,

  /** Containers whose state one runtime keeps on a node. */
  containersMax: 4_096,
  /** One file of a container runtime's state. */
  containerStateBytesMax: 4_194_304,
  /** Addresses told of one headless service. */
  dnsAddressesMax: 1_000,
  /** Answers of ours kept ready for one workload. */
  dnsReadyMax: 1_024,
  /** Answers of resolvers kept for one workload, by one worker. */
  dnsCacheEntriesMax: 256,
  dnsCacheBytesMax: 65_536,
  /** The longest that an answer of a resolver is kept. */
  dnsCacheTtlMaxS: 30,
  /** Questions of one workload on their way to resolvers, by one worker. */
  dnsInFlightMax: 256,
  /** A resolver's silence; who asked has given up before. */
  dnsSilenceMs: 10_000,
  /** Sockets to resolvers, of one workload, by one worker. */
  dnsSocketsMax: 16,
  /** A socket to a resolver takes no further questions after this: the next one has another port. */
  dnsSocketAgeMs: 5_000,
  /** Bytes of answers that wait for a full socket. */
  dnsSendBytesMax: 262_144,
  /** Questions of one TCP connection that are not answered yet. */
  dnsTcpPendingMax: 64,
  /** Source: RFC 7766 section 6.2.3, which asks for seconds. */
  dnsTcpIdleMs: 10_000,

  /** One configuration file. */
  configFileBytesMax: 4_194_304,
  configFilesMax: 10_000,
  /** Issues told of one file; the rest is counted. */
  issuesPerFileMax: 100,
  /** Alias expansions in YAML ("billion laughs"). */
  yamlAliasesMax: 100,
  /** Services that the mesh can give addresses: 240.240.0.0/16 without its first and last. */
  assignedAddressesMax: 65_534,
  /** Services that are gone and whose addresses nobody else gets yet. */
  departedAddressesMax: 4_096,
  /** Verdicts one node's kernel holds for pairs of its workloads; the agent judges the rest. */
  directVerdictsMax: 65_536,
  /** Pairs of workloads that one thread counts connections of; the rest is counted together. */
  flowsMax: 1_024,
  /** The same from or to addresses that are no workload's. */
  addressFlowsMax: 256,
  /** Open connections that one worker tells of at once. */
  liveRowsMax: 200,
  /** Connections a worker looks at before others get their turn. */
  surveyScan: 2_000,
  /** Flows of one message. */
  surveySliceRows: 200,
  /** Rows of one answer of the admin API; the rest is counted. */
  flowsShownMax: 5_000,
  liveShownMax: 1_000,
  workloadsShownMax: 5_000,
  issuesShownMax: 100,
  /** Entries of one table patch message, so that no loop stalls for more than about 1 ms. */
  patchSliceEntries: 200,
} as const
