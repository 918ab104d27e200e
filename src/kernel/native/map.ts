// BPF maps over the addon.
import { roundUp8 } from '../bytes.ts'
import { checkFd, checkInteger, checkLength, checkPath, UPDATE_FLAGS } from '../checks.ts'
import { attempt, kernelError } from '../errno.ts'
import type { BpfMap, MapSpec, MapType, UpdateMode } from '../kernel.ts'
import type { Addon, RawMap } from './addon.ts'

/** enum bpf_map_type. */
const TYPE_NUMBERS: Readonly<Record<Exclude<MapType, 'other'>, number>> = {
  hash: 1,
  array: 2,
  percpu_hash: 5,
  percpu_array: 6,
  lru_hash: 9,
  array_of_maps: 12,
  hash_of_maps: 13,
  sockhash: 18,
  sk_storage: 24,
  ringbuf: 27,
}

const TYPE_NAMES: ReadonlyMap<number, MapType> = new Map(
  Object.entries(TYPE_NUMBERS).map(([name, number]) => [number, name as MapType]),
)

/** `other`: sockmaps, arrays of programs. */
const HOLDS_FDS: ReadonlySet<MapType> = new Set([
  'sockhash',
  'array_of_maps',
  'hash_of_maps',
  'other',
])

/** percpu_hash, percpu_array, lru_percpu_hash. */
const PER_CPU_TYPES: ReadonlySet<number> = new Set([5, 6, 10])

export function mapTypeNumber(type: MapType, name: string): number {
  if (type === 'other') throw kernelError(`bpf(BPF_MAP_CREATE) ${name}: type 'other'`, 'EINVAL')
  return TYPE_NUMBERS[type]
}

/** The numbers `createMap` wants, in its order. */
export function mapShape(spec: Omit<MapSpec, 'name' | 'inner'>, name: string): number[] {
  return [
    mapTypeNumber(spec.type, name),
    spec.keySize,
    spec.valueSize,
    spec.maxEntries,
    spec.flags ?? 0,
  ]
}

export class NativeMap implements BpfMap {
  readonly name: string
  readonly type: MapType
  readonly keySize: number
  readonly valueSize: number
  readonly maxEntries: number
  readonly flags: number
  readonly id: number
  readonly #addon: Addon
  readonly #fd: number
  /** Of one entry as the kernel copies it: for per-CPU maps one value for each possible CPU. */
  readonly #valueBytes: number
  #closed = false

  constructor(addon: Addon, raw: RawMap) {
    this.#addon = addon
    this.#fd = raw.fd
    this.name = raw.name
    this.type = TYPE_NAMES.get(raw.type) ?? 'other'
    this.keySize = raw.keySize
    this.valueSize = raw.valueSize
    this.maxEntries = raw.maxEntries
    this.flags = raw.flags
    this.id = raw.id
    this.#valueBytes = PER_CPU_TYPES.has(raw.type)
      ? addon.possibleCpus() * roundUp8(raw.valueSize)
      : raw.valueSize
  }

  get fd(): number {
    return this.#open('use')
  }

  lookup(key: Uint8Array): Buffer | undefined {
    const fd = this.#open('lookup')
    this.#key('lookup', key)
    return this.#run(() => this.#addon.mapLookup(fd, key, this.#valueBytes))
  }

  update(key: Uint8Array, value: Uint8Array, mode: UpdateMode = 'any'): void {
    const fd = this.#open('update')
    this.#key('update', key)
    checkLength(`update ${this.name}: value`, value, this.#valueBytes)
    this.#run(() => this.#addon.mapUpdate(fd, key, value, UPDATE_FLAGS[mode]))
  }

  delete(key: Uint8Array): boolean {
    const fd = this.#open('delete')
    this.#key('delete', key)
    return this.#run(() => this.#addon.mapDelete(fd, key))
  }

  keys(): Buffer[] {
    const { keys, count } = this.#list(false)
    return slices(keys, this.keySize, count)
  }

  entries(): [Buffer, Buffer][] {
    const { keys, values, count } = this.#list(true)
    const found = slices(values, this.#valueBytes, count)
    return slices(keys, this.keySize, count).map((key, at) => [key, found[at] as Buffer])
  }

  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): void {
    const fd = this.#open('update batch')
    this.#count(count)
    checkLength(`update batch ${this.name}: keys`, keys, count * this.keySize)
    checkLength(`update batch ${this.name}: values`, values, count * this.#valueBytes)
    const { keySize } = this
    this.#run(() => this.#addon.mapUpdateBatch(fd, keys, values, count, keySize, this.#valueBytes))
  }

  deleteBatch(keys: Uint8Array, count: number): number {
    const fd = this.#open('delete batch')
    this.#count(count)
    checkLength(`delete batch ${this.name}: keys`, keys, count * this.keySize)
    return this.#run(() => this.#addon.mapDeleteBatch(fd, keys, count, this.keySize))
  }

  updateFd(key: Uint8Array, fd: number, mode: UpdateMode = 'any'): void {
    checkFd(`update ${this.name}`, fd)
    const value = Buffer.alloc(this.valueSize)
    if (!HOLDS_FDS.has(this.type)) this.#refuseFd()
    if (this.valueSize === 8) value.writeBigUInt64LE(BigInt(fd))
    else if (this.valueSize === 4) value.writeUInt32LE(fd)
    else this.#refuseFd()
    this.update(key, value, mode)
  }

  lookupSocket(socketFd: number): Buffer | undefined {
    return this.lookup(this.#socketKey('lookup', socketFd))
  }

  updateSocket(socketFd: number, value: Uint8Array, mode: UpdateMode = 'any'): void {
    this.update(this.#socketKey('update', socketFd), value, mode)
  }

  deleteSocket(socketFd: number): boolean {
    return this.delete(this.#socketKey('delete', socketFd))
  }

  pin(path: string): void {
    const fd = this.#open('pin')
    this.#run(() => this.#addon.pin(fd, checkPath(`pin ${this.name}`, path)))
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#addon.closeOwned(this.#fd)
  }

  #open(operation: string): number {
    if (this.#closed) throw kernelError(`${operation} map ${this.name}`, 'EBADF')
    return this.#fd
  }

  #key(operation: string, key: Uint8Array): void {
    checkLength(`${operation} ${this.name}: key`, key, this.keySize)
  }

  #count(count: number): void {
    checkInteger(`batch ${this.name}: count`, count, 0, 0x7fffffff)
  }

  #socketKey(operation: string, socketFd: number): Buffer {
    if (this.type !== 'sk_storage') {
      throw kernelError(`${operation} ${this.name}: no socket storage`, 'EINVAL')
    }
    checkFd(`socket storage ${this.name}`, socketFd)
    const key = Buffer.alloc(4)
    key.writeInt32LE(socketFd)
    return key
  }

  #refuseFd(): never {
    throw kernelError(`update ${this.name}: values of this map are no descriptors`, 'EINVAL')
  }

  #list(withValues: boolean): { keys: Buffer; values: Buffer; count: number } {
    const fd = this.#open('list')
    return this.#run(() => this.#addon.mapList(fd, this.keySize, this.#valueBytes, withValues))
  }

  #run<T>(operation: () => T): T {
    return attempt(operation, this.name)
  }
}

function slices(packed: Buffer, size: number, count: number): Buffer[] {
  const parts: Buffer[] = []
  for (let at = 0; at < count; at++) parts.push(packed.subarray(at * size, (at + 1) * size))
  return parts
}
