// Numbers of workloads for BPF maps. A number is not given twice before the machine reboots, so
// that what the kernel still remembers of an old workload never speaks for a new one.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Log } from '../../base/log.ts'
import { errorText } from '../../base/mesh-error.ts'
import type { BpfMap, Kernel } from '../kernel.ts'

const FILE = 'workload-ids.json'
/** Numbers kept for workloads that are gone, in case they return. */
const KEPT_MAX = 16_384

/** Remembers the next number as long as the maps that hold numbers exist. */
export interface HighWater {
  read(): number
  write(next: number): void
}

interface Stored {
  readonly bootId: string
  readonly ids: Readonly<Record<string, number>>
}

export class WorkloadIds {
  readonly #log: Log
  readonly #highWater: HighWater
  readonly #directory: string
  readonly #bootId: string
  readonly #byUid = new Map<string, number>()
  readonly #byId = new Map<number, string>()
  #next = 1

  constructor(
    parts: { readonly log: Log; readonly highWater: HighWater },
    options: { readonly directory: string; readonly bootId?: string },
  ) {
    this.#log = parts.log
    this.#highWater = parts.highWater
    this.#directory = options.directory
    this.#bootId = options.bootId ?? readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  }

  /** Reads the file. Without it, or after a reboot, numbering goes on above the high-water mark. */
  load(): void {
    const stored = this.#read()
    if (stored?.bootId === this.#bootId) {
      for (const [uid, id] of Object.entries(stored.ids)) this.#learn(uid, id)
    }
    this.#next = Math.max(1, this.#highWater.read(), ...[...this.#byId.keys()].map((id) => id + 1))
  }

  /** Numbers for all of `uids`, the new ones kept on disk before they are returned. */
  numbersOf(uids: Iterable<string>): (uid: string) => number {
    const before = this.#next
    for (const uid of uids) if (!this.#byUid.has(uid)) this.#learn(uid, this.#next++)
    if (this.#next !== before) {
      this.#highWater.write(this.#next)
      this.#save()
    }
    return (uid) => {
      const id = this.#byUid.get(uid)
      if (id === undefined) throw new RangeError(`workload ${uid} has no number`)
      return id
    }
  }

  numberOf(uid: string): number {
    return this.numbersOf([uid])(uid)
  }

  find(uid: string): number | undefined {
    return this.#byUid.get(uid)
  }

  uidOf(id: number): string | undefined {
    return this.#byId.get(id)
  }

  /** Forgets the oldest workloads that are not in use, once there are too many. */
  prune(inUse: ReadonlySet<string>): void {
    if (this.#byUid.size <= KEPT_MAX + inUse.size) return
    for (const [uid, id] of this.#byUid) {
      if (this.#byUid.size <= KEPT_MAX) break
      if (inUse.has(uid)) continue
      this.#byUid.delete(uid)
      this.#byId.delete(id)
    }
    this.#save()
  }

  remove(): void {
    rmSync(join(this.#directory, FILE), { force: true })
  }

  #learn(uid: string, id: number): void {
    this.#byUid.set(uid, id)
    this.#byId.set(id, uid)
  }

  #read(): Stored | undefined {
    const path = join(this.#directory, FILE)
    try {
      return parseStored(readFileSync(path, 'utf8'))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      this.#log.warn('datapath.ids-unreadable', {
        path,
        error: errorText(error),
        effect: 'workloads get new numbers; direct connections of before are ended',
      })
      return undefined
    }
  }

  #save(): void {
    mkdirSync(this.#directory, { recursive: true })
    const stored: Stored = { bootId: this.#bootId, ids: Object.fromEntries(this.#byUid) }
    const path = join(this.#directory, FILE)
    writeFileSync(`${path}.new`, JSON.stringify(stored))
    renameSync(`${path}.new`, path)
  }
}

function parseStored(text: string): Stored {
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'object' || value === null) throw new TypeError('not an object')
  const { bootId, ids } = value as Partial<Record<keyof Stored, unknown>>
  if (typeof bootId !== 'string' || typeof ids !== 'object' || ids === null) {
    throw new TypeError('members bootId and ids are missing')
  }
  for (const [uid, id] of Object.entries(ids)) {
    if (!Number.isInteger(id) || (id as number) < 1) throw new TypeError(`number of ${uid}: ${id}`)
  }
  return { bootId, ids: ids as Readonly<Record<string, number>> }
}

/** The mark in a pinned map, which vanishes with the maps that hold numbers. */
export function pinnedHighWater(kernel: Kernel, directory: string): HighWater {
  const path = join(directory, 'weft_ids')
  const key = Buffer.alloc(4)
  const open = (): BpfMap => {
    if (existsSync(path)) return kernel.openPinnedMap(path)
    const made = kernel.createMap({
      name: 'weft_ids',
      type: 'array',
      keySize: 4,
      valueSize: 4,
      maxEntries: 1,
    })
    made.pin(path)
    return made
  }
  const use = <T>(task: (map: BpfMap) => T): T => {
    const map = open()
    try {
      return task(map)
    } finally {
      map.close()
    }
  }
  return {
    read: () => use((map) => map.lookup(key)?.readUInt32LE(0) ?? 0),
    write: (next) =>
      use((map) => {
        const value = Buffer.alloc(4)
        value.writeUInt32LE(next)
        map.update(key, value)
      }),
  }
}
