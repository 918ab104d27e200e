// The port to the Linux kernel: what the addon does and the fake kernel imitates. No mesh words.
// Buffers are copied in and out; all sizes in bytes; integers inside values in host byte order
// unless a layout says otherwise.
import { MeshError } from '../base/mesh-error.ts'

/** A failed kernel operation. `errno` is positive, `errnoName` its symbol ('EADDRINUSE'). */
export class KernelError extends MeshError {
  readonly errno: number
  readonly errnoName: string
  /** What was attempted: 'bpf(BPF_PROG_LOAD) weft_connect4', 'setns', 'bind 10.0.0.1:80'. */
  readonly operation: string
  /** The verifier's log when a program was refused. */
  readonly verifierLog: string | undefined

  constructor(
    operation: string,
    errno: number,
    errnoName: string,
    verifierLog?: string,
    options: { readonly cause?: unknown } = {},
  ) {
    super('kernel', `${operation}: ${errnoName}${verifierLog ? `\n${verifierLog}` : ''}`, options)
    this.name = 'KernelError'
    this.operation = operation
    this.errno = errno
    this.errnoName = errnoName
    this.verifierLog = verifierLog
  }
}

export type MapType =
  | 'hash'
  | 'array'
  | 'lru_hash'
  | 'percpu_array'
  | 'percpu_hash'
  | 'sockhash'
  | 'sk_storage'
  | 'array_of_maps'
  | 'hash_of_maps'
  | 'ringbuf'
  | 'other'

export interface MapSpec {
  readonly name: string
  readonly type: MapType
  readonly keySize: number
  readonly valueSize: number
  readonly maxEntries: number
  /** BPF_F_* bits. */
  readonly flags?: number
  /** Template of inner maps, for maps of maps. */
  readonly inner?: Omit<MapSpec, 'name' | 'inner'>
}

export type UpdateMode = 'any' | 'noexist' | 'exist'

/**
 * A BPF map. For per-CPU maps values are `cpus * roundUp8(valueSize)` bytes. For `sk_storage` and
 * `sockhash` see `lookupSocket` and `updateSocket`. Throws KernelError (E2BIG full, ENOENT,
 * EEXIST, EINVAL, EBADF after close).
 */
export interface BpfMap extends Omit<MapSpec, 'inner'> {
  readonly fd: number
  readonly id: number
  /** undefined when the key is absent. */
  lookup(key: Uint8Array): Buffer | undefined
  update(key: Uint8Array, value: Uint8Array, mode?: UpdateMode): void
  /** false when the key was absent. */
  delete(key: Uint8Array): boolean
  /** All keys at some moment; entries changed meanwhile may be seen or not, none twice. */
  keys(): Buffer[]
  entries(): [Buffer, Buffer][]
  /** `keys` and `values` hold `count` packed items. Falls back to single updates where the kernel
   * or map type has no batch operation. */
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): void
  deleteBatch(keys: Uint8Array, count: number): number
  /** Puts a map into a map of maps, or a program or socket fd into a map of fds. */
  updateFd(key: Uint8Array, fd: number, mode?: UpdateMode): void
  /** Value of a socket's storage (sk_storage keyed by socket fd); undefined when it has none. */
  lookupSocket(socketFd: number): Buffer | undefined
  updateSocket(socketFd: number, value: Uint8Array, mode?: UpdateMode): void
  deleteSocket(socketFd: number): boolean
  pin(path: string): void
  close(): void
}

export interface LinkInfo {
  readonly id: number
  readonly programId: number
  readonly type: 'cgroup' | 'netns' | 'tcx' | 'iter' | 'other'
  /** cgroup: 0 once the cgroup is gone. */
  readonly cgroupId?: bigint
  /** netns: 0 once the namespace is gone. */
  readonly netnsInode?: number
  /** tcx: 0 once the device is gone. */
  readonly ifindex?: number
}

export interface BpfLink {
  readonly fd: number
  info(): LinkInfo
  /** Replaces the program atomically (BPF_LINK_UPDATE). */
  update(program: BpfProgram): void
  pin(path: string): void
  /** Detaches now, whoever else holds or pins the link (BPF_LINK_DETACH). */
  detach(): void
  /** Drops this reference; the link lives on while pinned. */
  close(): void
}

export interface TestRunResult {
  readonly returnValue: number
  readonly dataOut: Buffer
  readonly contextOut: Buffer
  /** Mean nanoseconds of a run. */
  readonly durationNs: number
}

export interface BpfProgram {
  readonly name: string
  readonly fd: number
  readonly id: number
  /** Instructions the verifier processed; 0 where the kernel does not tell. */
  readonly verifiedInstructions: number
  /** Attach type is the program's own (from its SEC name). */
  attachCgroup(cgroupPath: string): BpfLink
  /** sk_lookup; `namespaceFd` is a /proc/PID/ns/net descriptor. */
  attachNetns(namespaceFd: number): BpfLink
  /** TCX on a device of the namespace (or of the agent's own when undefined). */
  attachTcx(
    direction: 'ingress' | 'egress',
    ifindex: number,
    namespaceFd?: number,
  ): Promise<BpfLink>
  attachIter(): BpfLink
  testRun(input: {
    readonly data?: Uint8Array
    readonly context?: Uint8Array
    readonly repeat?: number
  }): TestRunResult
  pin(path: string): void
  close(): void
}

export interface ObjectSpec {
  /** ELF bytes of a `.bpf.o`. */
  readonly bytes: Uint8Array
  readonly name: string
  /** Values of `const volatile` globals, by symbol; the bytes must have the symbol's size. */
  readonly constants?: Readonly<Record<string, Uint8Array>>
  /** Map name -> path: opened from there when a compatible map is pinned, else made and pinned. */
  readonly pins?: Readonly<Record<string, string>>
  /** Map name -> existing map to use in place of a new one. */
  readonly reuse?: Readonly<Record<string, BpfMap>>
  readonly maxEntries?: Readonly<Record<string, number>>
  /** Only these programs are loaded; all when absent. */
  readonly programs?: readonly string[]
}

export interface BpfObject {
  readonly maps: ReadonlyMap<string, BpfMap>
  readonly programs: ReadonlyMap<string, BpfProgram>
  close(): void
}

export interface StructMember {
  readonly name: string
  readonly offset: number
  readonly size: number
}

export interface StructLayout {
  readonly name: string
  readonly size: number
  readonly members: readonly StructMember[]
}

export interface RingReader {
  /** Records lost because the ring was full are counted by the program, not here. */
  stop(): void
}

/** A network namespace held open. */
export interface Namespace {
  readonly fd: number
  /** SO_NETNS_COOKIE: never reused before reboot. */
  readonly cookie: bigint
  readonly inode: number
  close(): void
}

export interface ListenSpec {
  readonly address: string
  /** 0 lets the kernel choose. */
  readonly port: number
  readonly backlog?: number
  readonly transparent?: boolean
  readonly freebind?: boolean
  readonly reuseAddress?: boolean
  /** IPv6 only: do not accept IPv4 (default false: dual-stack). */
  readonly v6Only?: boolean
  readonly mark?: number
}

export interface ConnectSpec {
  readonly address: string
  readonly port: number
  /** Bound before connecting. With `portRange` and port 0, explicit ports of the range are tried
   * from a random start until one is free. */
  readonly source?: { readonly address: string; readonly port: number }
  readonly portRange?: readonly [first: number, last: number]
  readonly transparent?: boolean
  readonly freebind?: boolean
  readonly mark?: number
  readonly keepAlive?: {
    readonly idleS: number
    readonly intervalS: number
    readonly probes: number
  }
  readonly timeoutMs: number
  readonly signal?: AbortSignal
}

export interface SocketAddress {
  /** Canonical text; v4-mapped shown as IPv4. */
  readonly address: string
  readonly port: number
}

export interface Accepted {
  /** Non-blocking, close-on-exec, TCP_NODELAY set. The receiver owns it; what a thread accepted or
   * connected and did not close is closed when the thread ends. */
  readonly fd: number
  readonly remote: SocketAddress
  readonly local: SocketAddress
  /** Its value in the acceptor's sk_storage map, if it has one. */
  readonly storage: Buffer | undefined
}

export interface AcceptOptions {
  /** Connections handed over in one turn of the loop. */
  readonly batchMax: number
  /** An sk_storage map whose value comes with each connection. */
  readonly storage?: BpfMap
  /** Without it: a process warning. EMFILE, ENFILE, ENOMEM, ENOBUFS are told once and waited out;
   * any other is the end of the listener. */
  readonly onError?: (error: Error) => void
}

/** Accepts on this thread's loop. Neither `stop` nor the end of the thread closes the listener. */
export interface Acceptor {
  pause(): void
  resume(): void
  stop(): void
}

/** One datagram of a SOCK_SEQPACKET or SOCK_DGRAM Unix socket with the descriptors it carried. */
export interface UnixMessage {
  readonly bytes: Buffer
  readonly fds: readonly number[]
}

export interface UnixChannel {
  readonly fd: number
  send(bytes: Uint8Array, fds?: readonly number[]): Promise<void>
  /** Called once per message; an empty `bytes` with no fds is the end. After an error (EMSGSIZE:
   * a message or its descriptors did not fit; ECONNRESET) nothing more comes; without `onError` it
   * is a process warning followed by the end. */
  onMessage(handler: (message: UnixMessage) => void, onError?: (error: Error) => void): void
  close(): void
}

export interface UnixListener {
  onConnection(handler: (channel: UnixChannel) => void): void
  close(): void
}

/** All that is given must match; at least an address, a port or cookies. */
export interface DestroyFilter {
  /** Both when absent. */
  readonly family?: 4 | 6
  readonly source?: Partial<SocketAddress>
  readonly destination?: Partial<SocketAddress>
  /** Any of these socket cookies; none matches nothing. */
  readonly cookies?: readonly bigint[]
}

export interface Kernel {
  // ---- BPF
  loadObject(spec: ObjectSpec): BpfObject
  createMap(spec: MapSpec): BpfMap
  openPinnedMap(path: string): BpfMap
  /** Another handle on a map of this process, for worker threads (they share descriptors). */
  openMapById(id: number): BpfMap
  openPinnedLink(path: string): BpfLink
  openPinnedProgram(path: string): BpfProgram
  /** Layout of a struct from the object's BTF; undefined when it has none of that name. */
  structLayout(objectBytes: Uint8Array, struct: string): StructLayout | undefined
  /** Calls `onRecords` on this thread's loop with whole records. */
  readRing(map: BpfMap, onRecord: (record: Buffer) => void): RingReader
  /** Runs an iterator to its end inside a namespace and returns what it wrote. */
  readIter(link: BpfLink, namespaceFd?: number): Promise<Buffer>
  // ---- namespaces
  /** `path` such as /proc/PID/ns/net or /run/netns/NAME. */
  openNamespace(path: string): Promise<Namespace>
  /** Index of the device in the namespace; undefined when there is none. */
  deviceIndex(name: string, namespaceFd?: number): Promise<number | undefined>
  /** Writes a file (for /proc/sys/net) as seen in the namespace. */
  writeFileIn(namespaceFd: number, path: string, text: string): Promise<void>
  // ---- sockets; without `namespaceFd`: the agent's own namespace
  listen(spec: ListenSpec, namespaceFd?: number): Promise<{ fd: number; local: SocketAddress }>
  /** Resolves with a connected, non-blocking descriptor. Rejects with KernelError ECONNREFUSED,
   * ETIMEDOUT, EADDRINUSE ..., or ECANCELED when the signal fired. */
  connect(spec: ConnectSpec, namespaceFd?: number): Promise<{ fd: number; local: SocketAddress }>
  /** A bound, non-blocking UDP socket for `dgram`'s `bind({ fd })`. `port` 0 lets the kernel
   * choose; `freebind` as for `listen`. */
  bindUdp(
    spec: Pick<ListenSpec, 'address' | 'port' | 'freebind' | 'v6Only'>,
    namespaceFd?: number,
  ): Promise<{ fd: number; local: SocketAddress }>
  accept(
    listenerFd: number,
    options: AcceptOptions,
    onAccept: (accepted: readonly Accepted[]) => void,
  ): Acceptor
  /** SO_ORIGINAL_DST; undefined when the socket has none. */
  originalDestination(fd: number): SocketAddress | undefined
  socketNetnsCookie(fd: number): bigint
  /** Sends RST on close (SO_LINGER 0), whoever closes it: this thread, its end or the kernel's. On a
   * listener: of every connection that comes to it from now on. */
  setLingerZero(fd: number): void
  /** Takes that back: close sends FIN. */
  clearLingerZero(fd: number): void
  duplicate(fd: number): number
  closeFd(fd: number): void
  /** Ends TCP sockets that match (inet_diag SOCK_DESTROY); returns how many. */
  destroySockets(filter: DestroyFilter, namespaceFd?: number): Promise<number>
  unixListen(path: string, type: 'seqpacket' | 'stream'): UnixListener
  unixConnect(path: string, type: 'seqpacket' | 'stream'): Promise<UnixChannel>
}
