// A map that is changed by making a new one: readers of an older version are never disturbed.
// Buckets are shared between versions, so a change costs one bucket and one array of buckets.
import { fnv1a } from './fnv.ts'

const BUCKETS = 512

const bucketOf = (key: string): number => fnv1a(key) % BUCKETS

export class PersistentMap<V> implements Iterable<readonly [string, V]> {
  readonly #buckets: readonly (ReadonlyMap<string, V> | undefined)[]
  readonly size: number

  private constructor(buckets: readonly (ReadonlyMap<string, V> | undefined)[], size: number) {
    this.#buckets = buckets
    this.size = size
  }

  static empty<V>(): PersistentMap<V> {
    return new PersistentMap<V>(new Array(BUCKETS).fill(undefined), 0)
  }

  static from<V>(entries: Iterable<readonly [string, V]>): PersistentMap<V> {
    const draft = PersistentMap.empty<V>().draft()
    for (const [key, value] of entries) draft.set(key, value)
    return draft.commit()
  }

  get(key: string): V | undefined {
    return this.#buckets[bucketOf(key)]?.get(key)
  }

  has(key: string): boolean {
    return this.#buckets[bucketOf(key)]?.has(key) ?? false
  }

  *[Symbol.iterator](): Iterator<readonly [string, V]> {
    for (const bucket of this.#buckets) if (bucket !== undefined) yield* bucket
  }

  *values(): IterableIterator<V> {
    for (const bucket of this.#buckets) if (bucket !== undefined) yield* bucket.values()
  }

  /** Collects changes; each touched bucket is copied once, whatever the number of changes. */
  draft(): Draft<V> {
    const buckets = this.#buckets.slice()
    const owned = new Map<number, Map<string, V>>()
    let size = this.size
    const own = (key: string): Map<string, V> => {
      const at = bucketOf(key)
      let bucket = owned.get(at)
      if (bucket === undefined) {
        bucket = new Map(buckets[at])
        owned.set(at, bucket)
        buckets[at] = bucket
      }
      return bucket
    }
    return {
      get: (key) => buckets[bucketOf(key)]?.get(key),
      set(key, value) {
        const bucket = own(key)
        if (!bucket.has(key)) size++
        bucket.set(key, value)
      },
      delete(key) {
        if (buckets[bucketOf(key)]?.has(key) !== true) return false
        size--
        return own(key).delete(key)
      },
      commit: () => new PersistentMap(buckets.slice(), size),
    }
  }
}

export interface Draft<V> {
  get(key: string): V | undefined
  set(key: string, value: V): void
  delete(key: string): boolean
  /** The new version. The draft must not be used afterwards. */
  commit(): PersistentMap<V>
}
