// A kernel in memory: the same port, the same errno, no root. What needs programs to run is
// declared by the test; everything else behaves as the compliance suite says of both kernels.
import { existsSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { checkFd, checkMapSpec, checkPath } from './checks.ts'
import { kernelError } from './errno.ts'
import { FdTable } from './fake/fds.ts'
import { FakeMap } from './fake/map.ts'
import { MapData } from './fake/map-data.ts'
import { canonical, FakeNamespace, type NamespaceSpec, Ports } from './fake/network.ts'
import { type FakeObjectSpec, isElf, loadFakeObject, type ObjectParts } from './fake/object.ts'
import { Pins } from './fake/pins.ts'
import { FakeLink, FakeProgram, LinkData, type ProgramData } from './fake/program.ts'
import { asConnection } from './fake/socket.ts'
import { fakeTcp } from './fake/tcp.ts'
import { fakeUdp } from './fake/udp.ts'
import { fakeUnix } from './fake/unix.ts'
import type { BpfMap, Kernel, RingReader, SocketAddress } from './kernel.ts'

export interface FakeKernelOptions {
  readonly objects?: readonly FakeObjectSpec[]
  /** Namespaces by path. `/proc/self/ns/net`, the process's own, is always there. */
  readonly namespaces?: Readonly<Record<string, NamespaceSpec>>
  /** Existing directories that stand for cgroups. */
  readonly cgroups?: readonly string[]
  /** Addresses where connections are never answered. */
  readonly blackholes?: readonly string[]
  readonly cpus?: number
}

/** What a test may do that no caller of the port can. */
export interface FakeControl {
  addNamespace(path: string, spec: NamespaceSpec): void
  addCgroup(path: string): void
  /** The stream behind a descriptor, now the caller's, as `new net.Socket({ fd })` would be. */
  adopt(fd: number): Duplex
  setOriginalDestination(fd: number, address: SocketAddress): void
  /** What a program would write to a ring buffer. */
  emit(map: BpfMap, record: Uint8Array): void
  /** Text last written below /proc/sys of a namespace. */
  written(namespacePath: string, path: string): string | undefined
  /** Descriptors open now. */
  readonly openDescriptors: number
}

export const OWN_NAMESPACE = '/proc/self/ns/net'

export function fakeKernel(options: FakeKernelOptions = {}): Kernel & { control: FakeControl } {
  const fds = new FdTable()
  const pins = new Pins()
  const maps = new Map<number, MapData>()
  const namespaces = new Map<string, FakeNamespace>()
  const cgroups = new Set(options.cgroups)
  const blackholes = new Set(options.blackholes?.map((one) => canonical('blackhole', one)))
  const cpus = options.cpus ?? 2
  let lastId = 0
  let lastCookie = 0n
  const addNamespace = (path: string, spec: NamespaceSpec): void => {
    namespaces.set(path, new FakeNamespace(namespaces.size + 1, spec))
  }
  addNamespace(OWN_NAMESPACE, {})
  for (const [path, spec] of Object.entries(options.namespaces ?? {})) addNamespace(path, spec)

  const namespaceOf = (fd: number | undefined): FakeNamespace => {
    const file = fd === undefined ? namespaces.get(OWN_NAMESPACE) : fds.get('setns', fd)
    if (file instanceof FakeNamespace) return file
    throw kernelError('setns', 'EINVAL')
  }
  const parts: ObjectParts = {
    fds,
    pins,
    cgroups,
    cpus,
    objects: options.objects ?? [],
    nextId: () => ++lastId,
    namespaceOf,
    addMap(name, spec) {
      const data = new MapData(++lastId, name, spec, cpus)
      maps.set(data.id, data)
      return data
    },
  }
  return {
    ...fakeBpf(parts, maps),
    ...fakeNamespaces(parts, namespaces),
    ...fakeTcp({
      fds,
      ports: new Ports(),
      get namespaces() {
        return new Set(namespaces.values())
      },
      blackholes,
      namespaceOf,
      nextCookie: () => ++lastCookie,
    }),
    ...fakeUnix(fds),
    ...fakeUdp({ fds, ports: new Ports(), namespaceOf, nextCookie: () => ++lastCookie }),
    control: control(fds, namespaces, cgroups, addNamespace),
  }
}

function control(
  fds: FdTable,
  namespaces: ReadonlyMap<string, FakeNamespace>,
  cgroups: Set<string>,
  addNamespace: FakeControl['addNamespace'],
): FakeControl {
  return {
    addNamespace,
    addCgroup: (path) => void cgroups.add(path),
    adopt: (fd) => asConnection('adopt', fds, fd).adopt(),
    setOriginalDestination(fd, address) {
      asConnection('set original destination', fds, fd).original = address
    },
    emit: (map, record) => emit(fds.get('emit', map.fd) as MapData, record),
    written: (namespacePath, path) => namespaces.get(namespacePath)?.files.get(path),
    get openDescriptors() {
      return fds.count
    },
  }
}

function fakeBpf(parts: ObjectParts, maps: ReadonlyMap<number, MapData>) {
  const { fds, pins } = parts
  return {
    loadObject: (spec) => loadFakeObject(parts, spec),
    createMap(spec) {
      checkMapSpec(spec, spec.name)
      return new FakeMap(parts.addMap(spec.name, spec), parts)
    },
    openPinnedMap: (path) =>
      new FakeMap(pins.get(checkPath('open pinned map', path), 'map') as MapData, parts),
    openMapById(id) {
      const data = maps.get(id)
      if (data === undefined || !lives(parts, data)) {
        throw kernelError(`bpf(BPF_MAP_GET_FD_BY_ID) ${id}`, 'ENOENT')
      }
      return new FakeMap(data, parts)
    },
    openPinnedLink: (path) =>
      new FakeLink(pins.get(checkPath('open pinned link', path), 'link') as LinkData, parts),
    openPinnedProgram: (path) => {
      checkPath('open pinned program', path)
      return new FakeProgram(pins.get(path, 'program') as ProgramData, parts)
    },
    structLayout(bytes, struct) {
      if (!isElf(bytes)) throw kernelError('read BTF of object', 'EINVAL')
      const layouts = parts.objects.flatMap((object) => object.layouts ?? [])
      return layouts.find(({ name }) => name === struct)
    },
    readRing: (map, onRecord) => readRing(fds.get('read ring', map.fd) as MapData, onRecord),
    async readIter(link, namespaceFd) {
      const file = fds.get('bpf(BPF_ITER_CREATE)', link.fd)
      const namespace = parts.namespaceOf(namespaceFd)
      if (!(file instanceof LinkData) || file.program.spec.attach !== 'iter') {
        throw kernelError('bpf(BPF_ITER_CREATE)', 'EINVAL')
      }
      return file.program.spec.iterate?.(namespace.cookie) ?? Buffer.alloc(0)
    },
  } satisfies Partial<Kernel>
}

/** Held by a descriptor, a pin, or a map of maps that lives itself. */
function lives(parts: ObjectParts, data: MapData): boolean {
  if (parts.fds.isOpen(data) || parts.pins.holds(data)) return true
  return [...data.outers].some((outer) => outer.contains(data) && lives(parts, outer))
}

function fakeNamespaces(parts: ObjectParts, namespaces: ReadonlyMap<string, FakeNamespace>) {
  return {
    async openNamespace(path) {
      checkPath('open namespace', path)
      const namespace = namespaces.get(path)
      if (namespace === undefined) {
        const there = existsSync(path)
        throw kernelError(there ? 'setns' : `open ${path}`, there ? 'EINVAL' : 'ENOENT')
      }
      const fd = parts.fds.open(namespace)
      const { cookie, inode } = namespace
      let open = true
      return {
        fd,
        cookie,
        inode,
        close() {
          if (open) parts.fds.close(fd)
          open = false
        },
      }
    },
    async deviceIndex(name, namespaceFd) {
      const at = parts.namespaceOf(namespaceFd).devices.indexOf(checkPath('device', name))
      return at < 0 ? undefined : at + 1
    },
    async writeFileIn(namespaceFd, path, text) {
      const namespace = parts.namespaceOf(checkFd('setns', namespaceFd))
      if (!existsSync(checkPath('write', path))) throw kernelError(`open ${path}`, 'ENOENT')
      namespace.files.set(path, text)
    },
  } satisfies Partial<Kernel>
}

function readRing(data: MapData, onRecord: (record: Buffer) => void): RingReader {
  if (data.spec.type !== 'ringbuf') throw kernelError(`read ring ${data.name}`, 'EINVAL')
  const deliver = (): void => {
    if (data.onRecord !== wake) return
    for (const record of data.records.splice(0)) onRecord(record)
  }
  const wake = (): void => void setImmediate(deliver)
  data.onRecord = wake
  wake()
  return {
    stop() {
      if (data.onRecord === wake) data.onRecord = undefined
    },
  }
}

function emit(data: MapData, record: Uint8Array): void {
  data.records.push(Buffer.from(record))
  data.onRecord?.()
}
