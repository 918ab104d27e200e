// An agent without a mesh: drives the datapath by lines of JSON on standard input, and answers on
// accepted connections with what it knows of them. Runs in a node's namespace and agent cgroup.
import { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { formatEndpoint } from '../../src/base/ip.ts'
import { memoryLog } from '../../src/base/log.ts'
import { errorText } from '../../src/base/mesh-error.ts'
import type { KernelForms } from '../../src/kernel/capability.ts'
import { openDatapath } from '../../src/kernel/datapath/open.ts'
import type {
  DatapathPaths,
  DatapathSettings,
  DirectConnection,
  HostEnrolment,
  PodListener,
} from '../../src/kernel/datapath.ts'
import type { Accepted, Acceptor, Namespace } from '../../src/kernel/kernel.ts'
import { nativeKernel } from '../../src/kernel/native.ts'
import { openWorkerViews, type WorkerViews } from '../../src/kernel/worker-views.ts'
import type { AccessEntry } from '../../src/model/access-entry.ts'
import { NODE_UID } from '../../src/model/messages.ts'
import type { Reason } from '../../src/model/reason.ts'
import type { WantedMaps } from '../../src/model/wanted-maps.ts'
import { DnsDoor, isDns } from './dns-door.ts'

const paths = JSON.parse(process.argv[2] ?? '{}') as DatapathPaths
const forms = JSON.parse(process.argv[3] ?? '{}') as Partial<KernelForms>
const kernel = nativeKernel()
const log = memoryLog()
const datapath = openDatapath({ kernel, log, forms }, paths)
const namespaces = new Map<string, Namespace>()
const acceptors = new Map<number, Acceptor>()
const served = new Map<string, PodListener[]>()
/** Host-network workloads that are enrolled. */
const hosts = new Set<string>()
const sockets = new Set<Socket>()
const entries: AccessEntry[] = []
/** Connections accepted, by `class worker`. */
const accepted: Record<string, number> = {}
let manner: 'answer' | 'hold' = 'answer'
let views: WorkerViews | undefined
let door: DnsDoor | undefined
/** Addresses by uid. */
const places = new Map<string, readonly string[]>()

async function serve(uid: string, listeners: readonly PodListener[]): Promise<void> {
  served.set(uid, [...(served.get(uid) ?? []), ...listeners])
  for (const listener of listeners) {
    const storage = views?.origins
    const namespace = namespaces.get(uid)
    if (storage === undefined || namespace === undefined) throw new Error('serve before start')
    if (isDns(listener)) {
      await door?.serve(listener, namespace, places.get(uid) ?? [])
      continue
    }
    const acceptor = kernel.accept(listener.fd, { batchMax: 64, storage }, (batch) => {
      for (const connection of batch) take(listener, connection)
    })
    acceptors.set(listener.fd, acceptor)
  }
}

function letGo(listeners: readonly PodListener[]): void {
  for (const listener of listeners) {
    door?.letGo(listener)
    acceptors.get(listener.fd)?.stop()
    acceptors.delete(listener.fd)
  }
}

function take(listener: PodListener, { fd, remote, local, storage }: Accepted): void {
  const key = `${listener.class} ${listener.worker}`
  accepted[key] = (accepted[key] ?? 0) + 1
  const origin = views?.decodeOrigin(storage)
  const answer = {
    name: origin === undefined ? listener.class : formatEndpoint(origin.ip, origin.port),
    class: listener.class,
    worker: listener.worker,
    workload: origin?.workload,
    remote: formatEndpoint(remote.address, remote.port),
    local: formatEndpoint(local.address, local.port),
    getsockopt: kernel.originalDestination(fd),
  }
  const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: false })
  sockets.add(socket)
  socket.on('error', () => {})
  socket.on('close', () => sockets.delete(socket))
  socket.resume()
  socket.write(`${JSON.stringify(answer)}\n`)
  if (manner === 'answer') socket.end()
}

/** Connects into a pod as deliveries do, and returns what is said there. */
async function deliver(input: {
  uid: string
  /** Without it: its own address. */
  source?: string
  address: string
  port: number
  mark?: number
}): Promise<string> {
  const namespace = namespaces.get(input.uid)
  if (namespace === undefined && !hosts.has(input.uid)) throw new Error(`no pod ${input.uid}`)
  const { fd } = await kernel.connect(
    {
      address: input.address,
      port: input.port,
      ...(input.source === undefined
        ? {}
        : {
            source: { address: input.source, port: 0 },
            portRange: [1024, 32_767],
            transparent: true,
            freebind: true,
          }),
      timeoutMs: 3_000,
      ...(input.mark === undefined ? {} : { mark: input.mark }),
    },
    namespace?.fd,
  )
  const socket = new Socket({ fd, readable: true, writable: true })
  let text = ''
  for await (const piece of socket) text += String(piece)
  return text
}

/** No entry of a test has this beginning. */
function fillerKey(bytes: number, at: number): Buffer {
  const key = Buffer.alloc(bytes, 0xfe)
  key.writeUInt32LE(at, 4)
  return key
}

// biome-ignore lint/suspicious/noExplicitAny: arguments come from the test that wrote them
const commands: Record<string, (input: any) => unknown> = {
  start: async () => {
    await datapath.start()
    views = openWorkerViews(kernel, datapath.workerMaps)
    door = new DnsDoor(kernel, views)
    datapath.onDirectClosed((entry) => entries.push(entry))
  },
  configure: (settings: DatapathSettings) => datapath.configure(settings),
  enrol: async (input: { uid: string; netns: string; addresses: string[] }) => {
    const { uid, netns, addresses } = input
    const namespace = await kernel.openNamespace(`/run/netns/${netns}`)
    namespaces.get(uid)?.close()
    namespaces.set(uid, namespace)
    const pod = await datapath.enrol({ uid, namespace, device: 'eth0', addresses })
    places.set(uid, addresses)
    await serve(uid, pod.listeners)
    return { cookie: String(pod.cookie), number: pod.number, listeners: pod.listeners }
  },
  enrolHost: async (input: HostEnrolment) => {
    const host = await datapath.enrolHost(input)
    for (const uid of [NODE_UID, input.uid]) {
      if (!namespaces.has(uid)) namespaces.set(uid, await kernel.openNamespace('/proc/self/ns/net'))
    }
    places.set(input.uid, input.addresses)
    hosts.add(input.uid)
    if (!served.has(NODE_UID)) await serve(NODE_UID, datapath.node?.listeners ?? [])
    if (!served.has(input.uid)) await serve(input.uid, host.listeners)
    return { cookie: String(host.cookie), number: host.number }
  },
  withdrawHost: async (uid: string) => {
    hosts.delete(uid)
    letGo(served.get(uid) ?? [])
    served.delete(uid)
    if (hosts.size === 0) {
      letGo(served.get(NODE_UID) ?? [])
      served.delete(NODE_UID)
    }
    await datapath.withdraw(uid)
  },
  setProbes: (cgroups: string[]) => datapath.setProbes(cgroups),
  hostPorts: () => datapath.hostPorts(),
  portOwner: ({ ip, port }: { ip: string; port: number }) => {
    const views = openWorkerViews(kernel, datapath.workerMaps)
    const owner = views.portOwner(ip, port)
    views.close()
    return owner
  },
  node: () => datapath.node?.listeners.length ?? 0,
  withdraw: async (uid: string) => {
    // As workers do: whoever accepts on a listener lets go of it before it is closed.
    letGo(served.get(uid) ?? [])
    served.delete(uid)
    await datapath.withdraw(uid)
    namespaces.get(uid)?.close()
    namespaces.delete(uid)
  },
  withdrawUnclaimed: (keep: string[] | null) => datapath.withdrawUnclaimed(new Set(keep)),
  generation: (wanted: WantedMaps) => datapath.applyGeneration(wanted),
  denials: (wanted: WantedMaps) => datapath.applyDenials(wanted),
  counters: () => datapath.counters(),
  forms: () => datapath.forms,
  live: () => datapath.liveByWorker(),
  liveDirect: async () =>
    (await datapath.liveDirect()).map((one) => ({
      ...one,
      socketCookie: String(one.socketCookie),
      startedNs: String(one.startedNs),
    })),
  endDirect: async (input: {
    connections: (DirectConnection & { socketCookie: string })[]
    reason: Reason
  }) =>
    datapath.endDirect(
      input.connections.map((one) => ({ ...one, socketCookie: BigInt(one.socketCookie) })),
      input.reason,
    ),
  endInherited: (uid: string) => datapath.endInherited(uid),
  listening: (uid: string) => datapath.listeningPorts().get(uid) ?? [],
  silence: (worker: number) => {
    datapath.silenceWorker(worker)
  },
  revive: async (worker: number) => {
    // What was queued on the old listeners has been accepted by now.
    for (const [uid, listeners] of served) {
      letGo(listeners.filter((listener) => listener.worker === worker))
      served.set(
        uid,
        listeners.filter((listener) => listener.worker !== worker),
      )
    }
    const revived = await datapath.reviveWorker(worker)
    for (const { uid, listeners } of revived) await serve(uid, listeners)
    return revived
  },
  deliver,
  manner: (next: typeof manner) => {
    manner = next
  },
  closeAll: () => {
    for (const socket of sockets) socket.destroy()
  },
  open: () => sockets.size,
  accepted: () => accepted,
  ignoredQuestions: () => door?.ignored ?? 0,
  entries: () => entries.splice(0),
  log: () => log.entries,
  /** Entries of a pinned map. */
  mapSize: (name: string) => {
    const map = kernel.openPinnedMap(`${paths.pins}/maps/${name}`)
    const size = map.keys().length
    map.close()
    return size
  },
  /** Adds entries that mean nothing to a pinned map: until it takes no more, or `most`. */
  fill: ({ name, most }: { name: string; most: number }) => {
    const map = kernel.openPinnedMap(`${paths.pins}/maps/${name}`)
    const value = Buffer.alloc(map.valueSize)
    let count = 0
    try {
      for (; count < most; count++) map.update(fillerKey(map.keySize, count), value)
    } catch (error) {
      if (!/E2BIG|ENOSPC/.test(errorText(error))) throw error
    } finally {
      map.close()
    }
    return count
  },
  drain: ({ name, count }: { name: string; count: number }) => {
    const map = kernel.openPinnedMap(`${paths.pins}/maps/${name}`)
    for (let at = 0; at < count; at++) map.delete(fillerKey(map.keySize, at))
    map.close()
  },
  stop: async (mode: 'keep' | 'remove') => {
    for (const listeners of served.values()) letGo(listeners)
    await datapath.stop(mode)
    for (const namespace of namespaces.values()) namespace.close()
  },
}

console.log('driver ready')
for await (const line of createInterface({ input: process.stdin })) {
  const { id, call, input } = JSON.parse(line) as { id: number; call: string; input: unknown }
  void (async () => {
    try {
      const command = commands[call]
      if (command === undefined) throw new Error(`no command ${call}`)
      console.log(`reply ${JSON.stringify({ id, result: (await command(input)) ?? null })}`)
    } catch (error) {
      console.log(`reply ${JSON.stringify({ id, error: errorText(error) })}`)
    }
  })()
}
process.exit(0)
