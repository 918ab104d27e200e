// What a fake map holds, shared by all handles and pins of it, with the kernel's errno for what
// each type refuses.
import { roundUp8 } from '../bytes.ts'
import { type ErrnoName, kernelError } from '../errno.ts'
import type { MapSpec, UpdateMode } from '../kernel.ts'
import type { FakeFile } from './fds.ts'

type Shape = Omit<MapSpec, 'name'>

const BPF_F_NO_PREALLOC = 1
const PAGE = 4096

interface Entry {
  readonly key: Buffer
  value: Buffer
}

export class MapData implements FakeFile {
  readonly kind = 'map'
  readonly id: number
  readonly name: string
  readonly spec: Shape
  readonly valueBytes: number
  /** Records of a ring buffer that no reader has taken. */
  readonly records: Buffer[] = []
  onRecord: (() => void) | undefined
  /** Maps of maps it was put into. */
  readonly outers = new Set<MapData>()
  readonly #entries = new Map<string, Entry>()

  constructor(id: number, name: string, spec: Shape, cpus: number) {
    checkShape(name, spec)
    this.id = id
    this.name = name
    this.spec = spec
    const perCpu = spec.type === 'percpu_array' || spec.type === 'percpu_hash'
    this.valueBytes = perCpu ? cpus * roundUp8(spec.valueSize) : spec.valueSize
    if (spec.type !== 'array' && spec.type !== 'percpu_array') return
    for (let at = 0; at < spec.maxEntries; at++) {
      const key = Buffer.alloc(4)
      key.writeUInt32LE(at)
      this.#entries.set(key.toString('latin1'), { key, value: Buffer.alloc(this.valueBytes) })
    }
  }

  /** Pins and maps of maps may still hold it: whether it lives is asked when it matters. */
  release(): void {}

  contains(inner: MapData): boolean {
    return this.list().some(([, value]) => value.readUInt32LE(0) === inner.id)
  }

  get isArray(): boolean {
    const { type } = this.spec
    return type === 'array' || type === 'percpu_array' || type === 'array_of_maps'
  }

  read(key: Uint8Array): Buffer | undefined {
    const entry = this.#entries.get(text(key))
    if (entry === undefined) return undefined
    if (this.spec.type === 'lru_hash') this.#touch(entry)
    return Buffer.from(entry.value)
  }

  write(key: Uint8Array, value: Uint8Array, mode: UpdateMode): void {
    const entry = this.#entries.get(text(key))
    const exists = entry !== undefined || this.#isSlot(key)
    if (this.isArray && !exists) this.#fail('update', 'E2BIG')
    if (mode === 'noexist' && exists) this.#fail('update', 'EEXIST')
    if (mode === 'exist' && !exists) this.#fail('update', 'ENOENT')
    if (entry !== undefined) {
      entry.value = Buffer.from(value)
      return
    }
    if (!this.isArray && this.#entries.size >= this.spec.maxEntries) this.#makeRoom()
    this.#entries.set(text(key), { key: Buffer.from(key), value: Buffer.from(value) })
  }

  remove(key: Uint8Array): boolean {
    const { type } = this.spec
    if (type === 'array' || type === 'percpu_array') this.#fail('delete', 'EINVAL')
    return this.#entries.delete(text(key))
  }

  list(): [Buffer, Buffer][] {
    if (this.spec.type === 'array_of_maps') return this.#slots()
    return [...this.#entries.values()].map(({ key, value }) => [
      Buffer.from(key),
      Buffer.from(value),
    ])
  }

  /** Same type, key, value and flags: what the kernel wants of an inner map. */
  fits(template: Shape): boolean {
    const { type, keySize, valueSize, flags, maxEntries } = this.spec
    if (type !== template.type || keySize !== template.keySize) return false
    if (valueSize !== template.valueSize || (flags ?? 0) !== (template.flags ?? 0)) return false
    return type !== 'array' || maxEntries === template.maxEntries
  }

  #isSlot(key: Uint8Array): boolean {
    if (this.spec.type !== 'array_of_maps') return false
    return Buffer.from(key).readUInt32LE(0) < this.spec.maxEntries
  }

  #slots(): [Buffer, Buffer][] {
    const list: [Buffer, Buffer][] = []
    for (const { key, value } of this.#entries.values()) list.push([key, value])
    return list.sort(([a], [b]) => a.readUInt32LE(0) - b.readUInt32LE(0))
  }

  #makeRoom(): void {
    if (this.spec.type !== 'lru_hash') this.#fail('update', 'E2BIG')
    const oldest = this.#entries.keys().next().value
    if (oldest !== undefined) this.#entries.delete(oldest)
  }

  #touch(entry: Entry): void {
    this.#entries.delete(text(entry.key))
    this.#entries.set(text(entry.key), entry)
  }

  #fail(operation: string, name: ErrnoName): never {
    throw kernelError(`${operation} ${this.name}`, name)
  }
}

function text(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
}

function checkShape(name: string, spec: Shape): void {
  const { keySize, valueSize, maxEntries, flags = 0 } = spec
  if (fitsType()) return
  throw kernelError(`bpf(BPF_MAP_CREATE) ${name}`, 'EINVAL')

  function fitsType(): boolean {
    switch (spec.type) {
      case 'hash':
      case 'lru_hash':
      case 'percpu_hash':
        return keySize > 0 && valueSize > 0 && maxEntries > 0
      case 'array':
      case 'percpu_array':
        return keySize === 4 && valueSize > 0 && maxEntries > 0
      case 'array_of_maps':
        return keySize === 4 && valueSize === 4 && maxEntries > 0
      case 'hash_of_maps':
        return keySize > 0 && valueSize === 4 && maxEntries > 0
      case 'sockhash':
        return keySize > 0 && (valueSize === 4 || valueSize === 8) && maxEntries > 0
      case 'sk_storage':
        return (
          keySize === 4 && valueSize > 0 && maxEntries === 0 && (flags & BPF_F_NO_PREALLOC) !== 0
        )
      case 'ringbuf':
        return keySize === 0 && valueSize === 0 && isPagePower(maxEntries)
      case 'other':
        return false
    }
  }
}

function isPagePower(size: number): boolean {
  return size >= PAGE && (size & (size - 1)) === 0
}
