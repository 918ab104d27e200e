// Hands certificates from the keeper to the workers, and remembers the current ones for workers
// that start later.
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import type { IdentityMaterial } from '../model/messages.ts'
import type { WorkerPool } from './worker-pool.ts'

/** The keeper's side: what is wanted, by reference count. */
export interface IdentityWants {
  want(id: string): void
  forget(id: string): void
}

export class IdentityDesk {
  readonly #log: Log
  readonly #pool: () => WorkerPool
  readonly #wants: IdentityWants
  readonly #current = new Map<string, IdentityMaterial>()
  readonly #wanted = new Map<string, number>()
  readonly #waiting = new Map<string, (() => void)[]>()

  constructor(parts: {
    readonly log: Log
    readonly pool: () => WorkerPool
    readonly wants: IdentityWants
  }) {
    this.#log = parts.log
    this.#pool = parts.pool
    this.#wants = parts.wants
  }

  /** Resolves when every live worker holds a certificate for the identity. */
  async want(id: string): Promise<void> {
    this.#wanted.set(id, (this.#wanted.get(id) ?? 0) + 1)
    this.#wants.want(id)
    if (this.#current.has(id)) return
    await new Promise<void>((resolve) => {
      const waiting = this.#waiting.get(id)
      if (waiting === undefined) this.#waiting.set(id, [resolve])
      else waiting.push(resolve)
    })
  }

  forget(id: string): void {
    const left = (this.#wanted.get(id) ?? 0) - 1
    this.#wants.forget(id)
    if (left > 0) {
      this.#wanted.set(id, left)
      return
    }
    this.#wanted.delete(id)
    this.#zero(id)
    this.#current.delete(id)
    const pool = this.#pool()
    for (const worker of pool.alive()) pool.tell(worker, { kind: 'forget-identity', id })
  }

  /** A new certificate from the keeper, which zeroes its key when it has a newer one. */
  async receive(fresh: IdentityMaterial): Promise<void> {
    if (!this.#wanted.has(fresh.id)) return
    const material = { ...fresh, keyPem: fresh.keyPem.slice(0) }
    this.#zero(material.id)
    this.#current.set(material.id, material)
    const pool = this.#pool()
    try {
      await Promise.all(pool.alive().map((worker) => pool.giveIdentity(worker, material)))
    } catch (error) {
      this.#log.error('identity.hand-over-failed', { id: material.id, error: errorText(error) })
      return
    }
    for (const resolve of this.#waiting.get(material.id) ?? []) resolve()
    this.#waiting.delete(material.id)
  }

  #zero(id: string): void {
    const material = this.#current.get(id)
    if (material !== undefined) new Uint8Array(material.keyPem).fill(0)
  }

  /** Everything current, to a worker that knows nothing. */
  async giveAll(worker: number): Promise<void> {
    const pool = this.#pool()
    await Promise.all(
      [...this.#current.values()].map((material) => pool.giveIdentity(worker, material)),
    )
  }
}
