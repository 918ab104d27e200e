// A handle on a fake map.
import { checkFd, checkInteger, checkLength, checkPath } from '../checks.ts'
import { type ErrnoName, kernelError } from '../errno.ts'
import type { BpfMap, MapType, UpdateMode } from '../kernel.ts'
import type { FdTable } from './fds.ts'
import { MapData } from './map-data.ts'
import type { Pins } from './pins.ts'
import type { FakeSocket } from './socket.ts'
import { asSocket } from './socket.ts'

export interface MapParts {
  readonly fds: FdTable
  readonly pins: Pins
}

export class FakeMap implements BpfMap {
  readonly name: string
  readonly type: MapType
  readonly keySize: number
  readonly valueSize: number
  readonly maxEntries: number
  readonly flags: number
  readonly id: number
  readonly #data: MapData
  readonly #parts: MapParts
  readonly #fd: number
  #closed = false

  constructor(data: MapData, parts: MapParts) {
    this.#data = data
    this.#parts = parts
    this.#fd = parts.fds.open(data)
    this.name = data.name
    this.id = data.id
    this.type = data.spec.type
    this.keySize = data.spec.keySize
    this.valueSize = data.spec.valueSize
    this.maxEntries = data.spec.maxEntries
    this.flags = data.spec.flags ?? 0
  }

  get fd(): number {
    this.#open('use')
    return this.#fd
  }

  lookup(key: Uint8Array): Buffer | undefined {
    this.#key('lookup', key)
    if (this.type === 'sk_storage') return this.lookupSocket(Buffer.from(key).readInt32LE(0))
    if (this.type === 'ringbuf') this.#fail('lookup', 'ENOTSUPP')
    if (this.type === 'sockhash' && this.valueSize !== 8) this.#fail('lookup', 'ENOSPC')
    return this.#data.read(key)
  }

  update(key: Uint8Array, value: Uint8Array, mode: UpdateMode = 'any'): void {
    this.#key('update', key)
    checkLength(`update ${this.name}: value`, value, this.#data.valueBytes)
    if (this.type === 'sk_storage') {
      this.updateSocket(Buffer.from(key).readInt32LE(0), value, mode)
    } else if (this.type === 'ringbuf') {
      this.#fail('update', 'ENOTSUPP')
    } else if (holdsFds(this.type)) {
      this.updateFd(key, Buffer.from(value).readUInt32LE(0), mode)
    } else {
      this.#data.write(key, value, mode)
    }
  }

  delete(key: Uint8Array): boolean {
    this.#key('delete', key)
    if (this.type === 'sk_storage') return this.deleteSocket(Buffer.from(key).readInt32LE(0))
    if (this.type === 'ringbuf') this.#fail('delete', 'ENOTSUPP')
    return this.#data.remove(key)
  }

  keys(): Buffer[] {
    return this.entries().map(([key]) => key)
  }

  entries(): [Buffer, Buffer][] {
    this.#open('list')
    if (this.type === 'sk_storage' || this.type === 'ringbuf') this.#fail('list', 'ENOTSUPP')
    return this.#data.list()
  }

  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): void {
    this.#batch('update', keys, count)
    const { valueBytes } = this.#data
    checkLength(`update batch ${this.name}: values`, values, count * valueBytes)
    for (let at = 0; at < count; at++) {
      this.update(this.#part(keys, at), values.subarray(at * valueBytes, (at + 1) * valueBytes))
    }
  }

  deleteBatch(keys: Uint8Array, count: number): number {
    this.#batch('delete', keys, count)
    let deleted = 0
    for (let at = 0; at < count; at++) if (this.delete(this.#part(keys, at))) deleted++
    return deleted
  }

  updateFd(key: Uint8Array, fd: number, mode: UpdateMode = 'any'): void {
    this.#key('update', key)
    checkFd(`update ${this.name}`, fd)
    if (!holdsFds(this.type)) {
      throw kernelError(`update ${this.name}: values of this map are no descriptors`, 'EINVAL')
    }
    if (this.type === 'sockhash') {
      this.#addSocket(key, asSocket(`update ${this.name}`, this.#parts.fds, fd), mode)
      return
    }
    const inner = this.#parts.fds.get(`update ${this.name}`, fd)
    const { inner: template } = this.#data.spec
    if (!(inner instanceof MapData) || template === undefined || !inner.fits(template)) {
      this.#fail('update', 'EINVAL')
    }
    const id = Buffer.alloc(4)
    id.writeUInt32LE(inner.id)
    this.#data.write(key, id, mode)
    inner.outers.add(this.#data)
  }

  lookupSocket(socketFd: number): Buffer | undefined {
    const found = this.#socket('lookup', socketFd).storage.get(this.#data)
    return found && Buffer.from(found)
  }

  updateSocket(socketFd: number, value: Uint8Array, mode: UpdateMode = 'any'): void {
    const { storage } = this.#socket('update', socketFd)
    checkLength(`update ${this.name}: value`, value, this.valueSize)
    if (mode === 'noexist' && storage.has(this.#data)) this.#fail('update', 'EEXIST')
    if (mode === 'exist' && !storage.has(this.#data)) this.#fail('update', 'ENOENT')
    storage.set(this.#data, Buffer.from(value))
  }

  deleteSocket(socketFd: number): boolean {
    return this.#socket('delete', socketFd).storage.delete(this.#data)
  }

  pin(path: string): void {
    this.#open('pin')
    this.#parts.pins.add(checkPath(`pin ${this.name}`, path), this.#data)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#parts.fds.close(this.#fd)
  }

  #addSocket(key: Uint8Array, socket: FakeSocket, mode: UpdateMode): void {
    const cookie = Buffer.alloc(this.valueSize)
    if (this.valueSize === 8) cookie.writeBigUInt64LE(socket.cookie)
    this.#data.write(key, cookie, mode)
    const data = this.#data
    const copy = Buffer.from(key)
    socket.onRelease(() => void data.remove(copy))
  }

  #socket(operation: string, socketFd: number): FakeSocket {
    this.#open(operation)
    if (this.type !== 'sk_storage') {
      throw kernelError(`${operation} ${this.name}: no socket storage`, 'EINVAL')
    }
    return asSocket(`socket storage ${this.name}`, this.#parts.fds, socketFd)
  }

  #part(keys: Uint8Array, at: number): Uint8Array {
    return keys.subarray(at * this.keySize, (at + 1) * this.keySize)
  }

  #batch(operation: string, keys: Uint8Array, count: number): void {
    this.#open(operation)
    checkInteger(`batch ${this.name}: count`, count, 0, 0x7fffffff)
    checkLength(`${operation} batch ${this.name}: keys`, keys, count * this.keySize)
  }

  #key(operation: string, key: Uint8Array): void {
    this.#open(operation)
    checkLength(`${operation} ${this.name}: key`, key, this.keySize)
  }

  #open(operation: string): void {
    if (this.#closed) throw kernelError(`${operation} map ${this.name}`, 'EBADF')
  }

  #fail(operation: string, name: ErrnoName): never {
    throw kernelError(`${operation} ${this.name}`, name)
  }
}

function holdsFds(type: MapType): boolean {
  return type === 'sockhash' || type === 'array_of_maps' || type === 'hash_of_maps'
}
