// The addon's exports as they are, and where its file is looked for.
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { errorText, MeshError } from '../../base/mesh-error.ts'

export interface RawMap {
  readonly name: string
  readonly fd: number
  readonly id: number
  readonly type: number
  readonly keySize: number
  readonly valueSize: number
  readonly maxEntries: number
  readonly flags: number
}

export interface RawProgram {
  readonly name: string
  readonly fd: number
  readonly id: number
  readonly type: number
  readonly verifiedInstructions: number
  /** -1 when the kernel does not tell (programs opened from a pin). */
  readonly attachType: number
}

export interface RawConnected {
  readonly fd: number
  readonly address: string
  readonly port: number
}

type Pairs<T> = readonly (readonly [string, T])[]
type Bytes = Uint8Array
/** Settles the promise that `settled` made; called once, in a later turn or before the call ends. */
export type Done<T> = (error: Error | undefined, value: T) => void

/** Descriptors that these functions return belong to the addon until `closeOwned` or `takeFd`. */
export interface Addon {
  loadObject(
    bytes: Bytes,
    name: string,
    constants: Pairs<Bytes>,
    pins: Pairs<string>,
    reuse: Pairs<number>,
    maxEntries: Pairs<number>,
    programs: readonly string[] | undefined,
  ): { readonly maps: readonly RawMap[]; readonly programs: readonly RawProgram[] }
  createMap(name: string, ...shapes: readonly number[]): RawMap
  openPinnedMap(path: string): RawMap
  openMapById(id: number): RawMap
  openPinnedProgram(path: string): RawProgram
  openPinnedLink(path: string): number
  pin(fd: number, path: string): void
  structLayout(
    bytes: Bytes,
    name: string,
  ):
    | {
        readonly name: string
        readonly size: number
        readonly members: readonly {
          readonly name: string
          readonly offset: number
          readonly size: number
        }[]
      }
    | undefined
  possibleCpus(): number

  mapLookup(fd: number, key: Bytes, valueBytes: number): Buffer | undefined
  mapUpdate(fd: number, key: Bytes, value: Bytes, flags: number): void
  mapDelete(fd: number, key: Bytes): boolean
  mapList(
    fd: number,
    keySize: number,
    valueBytes: number,
    withValues: boolean,
  ): { readonly keys: Buffer; readonly values: Buffer; readonly count: number }
  mapUpdateBatch(
    fd: number,
    keys: Bytes,
    values: Bytes,
    count: number,
    keySize: number,
    valueBytes: number,
  ): void
  mapDeleteBatch(fd: number, keys: Bytes, count: number, keySize: number): number

  attachCgroup(programFd: number, path: string, attachType: number): number
  attachNetns(programFd: number, namespaceFd: number): number
  attachIter(programFd: number): number
  attachTcx(
    programFd: number,
    egress: boolean,
    ifindex: number,
    namespaceFd: number | undefined,
    done: Done<number>,
  ): void
  linkInfo(fd: number): {
    readonly type: number
    readonly id: number
    readonly programId: number
    readonly target: bigint
  }
  linkUpdate(fd: number, programFd: number): void
  linkDetach(fd: number): void
  programTestRun(
    fd: number,
    data: Bytes | undefined,
    context: Bytes | undefined,
    repeat: number,
  ): {
    readonly returnValue: number
    readonly dataOut: Buffer
    readonly contextOut: Buffer
    readonly durationNs: number
  }
  readIter(linkFd: number, namespaceFd: number | undefined, done: Done<Buffer>): void
  ringStart(mapFd: number, onBatch: (records: readonly Buffer[]) => void): number
  ringStop(id: number): void

  openNamespace(
    path: string,
    done: Done<{ readonly fd: number; readonly cookie: bigint; readonly inode: number }>,
  ): void
  deviceIndex(name: string, namespaceFd: number | undefined, done: Done<number | undefined>): void
  writeFileIn(namespaceFd: number, path: string, text: string, done: Done<void>): void
  listen(
    ip: Bytes,
    port: number,
    backlog: number,
    transparent: boolean,
    freebind: boolean,
    mark: number,
    reuseAddress: boolean,
    v6Only: boolean,
    namespaceFd: number | undefined,
    done: Done<RawConnected>,
  ): void
  bindUdp(
    ip: Bytes,
    port: number,
    freebind: boolean,
    v6Only: boolean,
    namespaceFd: number | undefined,
    done: Done<RawConnected>,
  ): void
  connect(
    ip: Bytes,
    port: number,
    sourceIp: Bytes | undefined,
    sourcePort: number,
    portFirst: number,
    portLast: number,
    transparent: boolean,
    freebind: boolean,
    mark: number,
    keepIdleS: number,
    keepIntervalS: number,
    keepProbes: number,
    timeoutMs: number,
    namespaceFd: number | undefined,
    done: Done<RawConnected>,
  ): number
  connectCancel(id: number): void
  accept(
    listenerFd: number,
    batchMax: number,
    storageFd: number | undefined,
    storageValueSize: number,
    buffer: Buffer,
    onBatch: (count: number) => void,
    onError: (error: Error) => void,
  ): number
  acceptPause(id: number): void
  acceptResume(id: number): void
  acceptStop(id: number): void
  destroySockets(
    family: number,
    sourceIp: Bytes | undefined,
    sourcePort: number,
    destinationIp: Bytes | undefined,
    destinationPort: number,
    cookies: Bytes | undefined,
    namespaceFd: number | undefined,
    done: Done<number>,
  ): void
  originalDestination(fd: number): RawConnected | undefined
  socketNetnsCookie(fd: number): bigint
  setLingerZero(fd: number): void
  clearLingerZero(fd: number): void
  duplicate(fd: number): number
  closeFd(fd: number): void
  closeOwned(fd: number): void
  takeFd(fd: number): void

  unixListen(path: string, stream: boolean, onConnection: (channel: RawChannel) => void): number
  unixListenClose(id: number): void
  unixConnect(path: string, stream: boolean): RawChannel
  unixRead(id: number, onMessage: (first: Buffer | Error, fds: readonly number[]) => void): void
  unixSend(id: number, bytes: Bytes, fds: readonly number[], done: Done<void>): void
  unixClose(id: number): void
}

export interface RawChannel {
  readonly id: number
  readonly fd: number
}

/** `WEFT_NATIVE` names another build (the one under AddressSanitizer). Throws MeshError. */
export function loadAddon(): Addon {
  const root = new URL('../../../', import.meta.url)
  const arch = process.arch
  // A clone's own build first: what `npm pack` once left in prebuilds/ may be older.
  const places = ['build/Release/weft.node', `prebuilds/linux-${arch}/weft.node`].map((path) =>
    fileURLToPath(new URL(path, root)),
  )
  const named = process.env.WEFT_NATIVE
  const path = named ?? places.find((place) => existsSync(place))
  if (path === undefined) {
    throw new MeshError(
      'kernel.addon',
      `no native addon at ${places.join(' or ')}: run \`npm run native:build\``,
    )
  }
  try {
    return createRequire(import.meta.url)(path) as Addon
  } catch (error) {
    throw new MeshError(
      'kernel.addon',
      `cannot load the native addon ${path}: ${errorText(error)} (it needs libbpf.so.1)`,
      { cause: error },
    )
  }
}
