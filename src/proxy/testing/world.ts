// Two nodes in one process for tests of the pipeline: loopback addresses stand for pods, each node
// has a DataPlane, and listeners on loopback stand for what BPF steers to the agent.
import { createServer, type Server, type Socket } from 'node:net'
import { type Clock, systemClock } from '../../base/clock.ts'
import { memoryLog } from '../../base/log.ts'
import { PersistentMap } from '../../base/persistent-map.ts'
import { seededRandom } from '../../base/random.ts'
import type { IdentityStore } from '../../identity/present/identity-store.ts'
import type { ConnectSpec, Kernel, SocketAddress } from '../../kernel/kernel.ts'
import type { AccessEntry } from '../../model/access-entry.ts'
import type { AuthorizationPolicy } from '../../model/authorization.ts'
import { LIMITS } from '../../model/limits.ts'
import { DEFAULT_MESH_SETTINGS, type MeshSettings } from '../../model/mesh-settings.ts'
import { type LocalPod, NODE_UID, type StreamClass } from '../../model/messages.ts'
import type { TableService, Tables, TableWorkload } from '../../model/tables.ts'
import { localPod } from '../../model/testing/local-pod.ts'
import { identityOf } from '../../model/workload.ts'
import { DataPlane, type DataPlaneOptions } from '../data-plane.ts'
import type { PortOwner } from '../host-workloads.ts'
import { until } from './conditions.ts'
import { identityStore } from './identities.ts'
import { testKernel } from './kernel.ts'

export function workload(
  name: string,
  ip: string,
  more: Partial<TableWorkload> = {},
): TableWorkload {
  return {
    uid: `cluster//Pod/default/${name}`,
    name,
    namespace: 'default',
    addresses: [ip],
    trustDomain: 'cluster.local',
    serviceAccount: name,
    node: 'node',
    network: '',
    clusterId: 'Kubernetes',
    labels: {},
    tunnel: 'hbone',
    hostNetwork: false,
    status: 'healthy',
    capacity: 1,
    locality: { region: '', zone: '', subzone: '' },
    services: {},
    workloadName: name,
    workloadType: 'deployment',
    canonicalName: name,
    canonicalRevision: 'latest',
    directPorts: [],
    policies: [],
    peer: { mode: 'permissive', ports: {}, by: 'default' },
    ...more,
  }
}

export function service(
  name: string,
  vip: string,
  ports: readonly (readonly [port: number, targetPort: number])[],
  endpoints: readonly TableWorkload[],
  more: Partial<TableService> = {},
): TableService {
  return {
    key: `default/${name}.default.svc.cluster.local`,
    name,
    namespace: 'default',
    hostname: `${name}.default.svc.cluster.local`,
    vips: [vip],
    assigned: false,
    ports: ports.map(([port, targetPort]) => ({ port, targetPort, name: '', protocol: 'tcp' })),
    subjectAltNames: [],
    resolution: 'static',
    external: false,
    annotatedDirect: false,
    allowUnhealthy: false,
    endpoints: endpoints.map(({ uid }) => uid).sort(),
    ...more,
  }
}

export interface Mesh {
  readonly workloads: readonly TableWorkload[]
  readonly services?: readonly TableService[]
  readonly policies?: readonly AuthorizationPolicy[]
  readonly settings?: Partial<MeshSettings>
}

export function tablesOf(version: number, mesh: Mesh): Tables {
  const services = mesh.services ?? []
  const byIp = mesh.workloads.flatMap(({ uid, addresses, hostNetwork }) =>
    hostNetwork ? [] : addresses.map((ip) => [ip, uid] as const),
  )
  const vips = services.flatMap(({ key, vips }) => vips.map((vip) => [vip, key] as const))
  return {
    version,
    mesh: { ...DEFAULT_MESH_SETTINGS, ...mesh.settings },
    workloads: PersistentMap.from(mesh.workloads.map((entry) => [entry.uid, entry] as const)),
    services: PersistentMap.from(services.map((entry) => [entry.key, entry] as const)),
    policies: PersistentMap.from((mesh.policies ?? []).map((entry) => [entry.key, entry] as const)),
    workloadByIp: PersistentMap.from(byIp),
    serviceByVip: PersistentMap.from(vips.filter(([vip]) => !vip.includes('/'))),
    serviceByHost: PersistentMap.from(
      Map.groupBy(services, ({ hostname }) => hostname)
        .entries()
        .map(([host, named]) => [host, named.map(({ key }) => key).sort()] as const),
    ),
    serviceByRange: PersistentMap.from(vips.filter(([vip]) => vip.includes('/'))),
  }
}

export interface Node {
  readonly plane: DataPlane
  readonly entries: AccessEntry[]
  readonly identities: IdentityStore
  readonly log: ReturnType<typeof memoryLog>
  /** Connections to the returned port go through the agent as if `pod` had called `ip:port`. */
  capture(pod: TableWorkload, ip: string, port: number): Promise<number>
  /** The same, with a record that cannot be decoded. */
  captureBroken(pod: TableWorkload): Promise<number>
  /** A listener for the same that nobody accepts from. */
  orphan(pod: TableWorkload, ip: string, port: number): Promise<Orphan>
  /** Serves the pod's HBONE port. */
  expose(pod: TableWorkload): Promise<void>
  /** Connections to the returned port are plaintext for `port` of the pod, or of `local`. */
  exposePlaintext(pod: TableWorkload, port: number, local?: string): Promise<number>
  /** A listener of any pod or of the node; returns its port. */
  serveAs(pod: LocalPod, kind: StreamClass, at: ServedAt): Promise<number>
  /** What the agent connected to, in order. */
  readonly connects: readonly ConnectSpec[]
  entry(at: number): Promise<AccessEntry>
  /** Any number of times. */
  close(): Promise<void>
}

export interface ServedAt {
  readonly ip: string
  /** 0 is the kernel's choice. */
  readonly port?: number
  /** What BPF would have stored with its sockets. */
  readonly origin?: { readonly ip: string; readonly port: number; readonly workload: number }
  /** The address a steered socket would say it has. */
  readonly local?: SocketAddress
}

export interface NodeOptions extends DataPlaneOptions {
  readonly clock: Clock
  readonly portOwner: PortOwner
}

export interface Orphan {
  readonly fd: number
  readonly port: number
  readonly pod: LocalPod
}

/** A workload that shares the node's network, by the kernel's number. */
export function hostPod({ uid, addresses }: TableWorkload, number: number): LocalPod {
  const namespaceFd = namespaceOf(addresses[0] ?? '')
  return localPod({ uid, namespaceFd, addresses, number, hostNetwork: true })
}

/** The node at this address: its connections are of the workloads they are from or for. */
export function nodePod(ip: string): LocalPod {
  const namespaceFd = namespaceOf(ip)
  return localPod({ uid: NODE_UID, namespaceFd, addresses: [], number: 0, hostNetwork: true })
}

/** The descriptor of its namespace is the last part of its address, here. */
export function podOf({ uid, addresses }: TableWorkload): LocalPod {
  return localPod({ uid, namespaceFd: namespaceOf(addresses[0] ?? ''), addresses })
}

/** Three bytes of a loopback address fit a number that is no descriptor of ours. */
function namespaceOf(ip: string): number {
  const [, second = 0, third = 0, fourth = 0] = ip.split('.').map(Number)
  return 0x1000000 + second * 65_536 + third * 256 + fourth
}

function addressIn(namespaceFd: number): string {
  return `127.${(namespaceFd >> 16) & 0xff}.${(namespaceFd >> 8) & 0xff}.${namespaceFd & 0xff}`
}

export async function startNode(
  tables: Tables,
  workloads: readonly TableWorkload[],
  { clock = systemClock, portOwner, ...options }: Partial<NodeOptions> = {},
): Promise<Node> {
  const kernel = loopbackKernel()
  const entries: AccessEntry[] = []
  const log = memoryLog()
  const identities = await identityStore(...new Set(workloads.map((entry) => identityOf(entry))))
  const plane = new DataPlane(
    {
      kernel,
      identities,
      log,
      clock,
      ...(portOwner === undefined ? {} : { portOwner }),
      random: seededRandom(1),
      accessLog: { write: (entry) => entries.push(entry), flush: async () => {} },
      decodeOrigin: (storage) =>
        storage === undefined || storage.length === 0 ? undefined : JSON.parse(storage.toString()),
    },
    { worker: 0, ...options },
  )
  plane.setTables(tables)
  const listeners: number[] = []
  let closing: Promise<void> | undefined
  const open = async (address: string, port: number): Promise<{ fd: number; port: number }> => {
    const { fd, local } = await kernel.listen({ address, port, reuseAddress: true })
    listeners.push(fd)
    return { fd, port: local.port }
  }
  const orphan = async (pod: TableWorkload, record: string): Promise<Orphan> => {
    const { fd, port } = await open(pod.addresses[0] ?? '', 0)
    kernel.origins.set(fd, Buffer.from(record))
    return { fd, port, pod: podOf(pod) }
  }
  return {
    plane,
    entries,
    identities,
    log,
    async capture(pod, ip, port) {
      const { fd, port: at } = await orphan(pod, JSON.stringify({ ip, port }))
      plane.listen(podOf(pod), [{ class: 'outbound', fd }])
      return at
    },
    async captureBroken(pod) {
      const { fd, port } = await orphan(pod, '{')
      plane.listen(podOf(pod), [{ class: 'outbound', fd }])
      return port
    },
    orphan: (pod, ip, port) => orphan(pod, JSON.stringify({ ip, port })),
    async expose(pod) {
      const { fd } = await open(pod.addresses[0] ?? '', LIMITS.hbonePort)
      plane.listen(podOf(pod), [{ class: 'hbone', fd }])
    },
    async exposePlaintext(pod, port, local) {
      const address = pod.addresses[0] ?? ''
      const { fd, port: at } = await open(address, 0)
      kernel.locals.set(fd, { address: local ?? address, port })
      plane.listen(podOf(pod), [{ class: 'plaintext', fd }])
      return at
    },
    async serveAs(pod, kind, { ip, port = 0, origin, local }) {
      const { fd, port: at } = await open(ip, port)
      if (origin !== undefined) kernel.origins.set(fd, Buffer.from(JSON.stringify(origin)))
      if (local !== undefined) kernel.locals.set(fd, local)
      plane.listen(pod, [{ class: kind, fd }])
      return at
    },
    connects: kernel.connects,
    async entry(at) {
      await until(`access entry ${at}`, () => entries.length > at)
      const entry = entries[at]
      if (entry === undefined) throw new Error('no entry')
      return entry
    },
    close() {
      closing ??= plane.stop().then(() => {
        for (const fd of listeners) kernel.closeFd(fd)
      })
      return closing
    },
  }
}

interface LoopbackKernel extends Kernel {
  /** By listener: what BPF would have stored with its sockets. */
  readonly origins: Map<number, Buffer>
  /** By listener: the address a steered socket would say it has. */
  readonly locals: Map<number, SocketAddress>
  readonly connects: ConnectSpec[]
}

/** The kernel with namespaces and transparency left out, which the lab tests: a socket "in a
 * namespace" is bound to the pod's address, and a disguised one to the client's. */
function loopbackKernel(): LoopbackKernel {
  const kernel = testKernel()
  const origins = new Map<number, Buffer>()
  const locals = new Map<number, SocketAddress>()
  const connects: ConnectSpec[] = []
  return {
    ...kernel,
    origins,
    locals,
    connects,
    accept: (fd, { batchMax }, onAccept) =>
      kernel.accept(fd, { batchMax }, (batch) => {
        const storage = origins.get(fd)
        onAccept(batch.map((one) => ({ ...one, storage, local: locals.get(fd) ?? one.local })))
      }),
    connect(spec, namespaceFd = 0) {
      const { address, port, timeoutMs, signal, source, portRange } = spec
      connects.push(spec)
      return kernel.connect({
        address,
        port,
        timeoutMs,
        ...(signal === undefined ? {} : { signal }),
        source: source ?? { address: addressIn(namespaceFd), port: 0 },
        ...(portRange === undefined ? {} : { portRange }),
      })
    },
  }
}

export interface App {
  readonly server: Server
  readonly sockets: Socket[]
  close(): Promise<void>
}

/** A server in a pod: `serve` gets every connection. */
export async function app(ip: string, port: number, serve: (socket: Socket) => void): Promise<App> {
  const sockets: Socket[] = []
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    serve(socket)
  })
  await new Promise<void>((resolve) => server.listen(port, ip, resolve))
  // A test that fails before it closes the server must still be able to end.
  server.unref()
  return {
    server,
    sockets,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
