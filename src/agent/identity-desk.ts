// Hands certificates from the keeper to the workers, and remembers the current ones for workers
// that start later. Nobody waits here: whoever wants an identity is told when it may have come.
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import type { IdentityMaterial } from '../model/messages.ts'
import type { WorkerPool } from './worker-pool.ts'

/** The keeper's side: what is wanted, by reference count. */
export interface IdentityWants {
  want(id: string): void
  forget(id: string): void
}

export interface IdentityDeskParts {
  readonly log: Log
  readonly pool: () => WorkerPool
  readonly wants: IdentityWants
  /** Called when an identity has become ready. */
  readonly onReady: () => void
}

export class IdentityDesk {
  readonly #parts: IdentityDeskParts
  readonly #current = new Map<string, IdentityMaterial>()
  readonly #wanted = new Map<string, number>()
  readonly #ready = new Set<string>()
  /** Of hand-overs: roots may be replaced without a new certificate. */
  #serial = 0

  constructor(parts: IdentityDeskParts) {
    this.#parts = parts
  }

  want(id: string): void {
    this.#wanted.set(id, (this.#wanted.get(id) ?? 0) + 1)
    this.#parts.wants.want(id)
  }

  /** Whether every serving worker holds a certificate for the identity. */
  isReady(id: string): boolean {
    return this.#ready.has(id)
  }

  forget(id: string): void {
    const left = (this.#wanted.get(id) ?? 0) - 1
    this.#parts.wants.forget(id)
    if (left > 0) {
      this.#wanted.set(id, left)
      return
    }
    this.#wanted.delete(id)
    this.#ready.delete(id)
    this.#zero(id)
    this.#current.delete(id)
    const pool = this.#parts.pool()
    for (const worker of pool.alive()) pool.tell(worker, { kind: 'forget-identity', id })
  }

  /** A new certificate from the keeper, which zeroes its key when it has a newer one. */
  receive(fresh: IdentityMaterial): Promise<void> {
    if (!this.#wanted.has(fresh.id)) return Promise.resolve()
    return this.#handOver({ ...fresh, keyPem: fresh.keyPem.slice(0) })
  }

  /** From now on these roots are accepted and no others, whatever becomes of the certificates. */
  async trust(rootsPem: readonly string[]): Promise<void> {
    const held = [...this.#current.values()]
    await Promise.all(
      held.map((material) =>
        this.#handOver({ ...material, rootsPem, keyPem: material.keyPem.slice(0) }),
      ),
    )
  }

  /** Everything current, to a worker that knows nothing. */
  async giveAll(worker: number): Promise<void> {
    const pool = this.#parts.pool()
    await Promise.all(
      [...this.#current.values()].map((material) => pool.giveIdentity(worker, material)),
    )
  }

  async #handOver(material: IdentityMaterial): Promise<void> {
    const { id } = material
    const numbered = { ...material, serial: ++this.#serial }
    this.#zero(id)
    this.#current.set(id, numbered)
    const pool = this.#parts.pool()
    try {
      await Promise.all(pool.alive().map((worker) => pool.giveIdentity(worker, numbered)))
    } catch (error) {
      this.#parts.log.error('identity.hand-over-failed', { id, error: errorText(error) })
      return
    }
    if (!this.#wanted.has(id) || this.#ready.has(id)) return
    this.#ready.add(id)
    this.#parts.onReady()
  }

  #zero(id: string): void {
    const material = this.#current.get(id)
    if (material !== undefined) new Uint8Array(material.keyPem).fill(0)
  }
}
