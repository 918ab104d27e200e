// Certificates that workloads wait for before they are served. Waiting itself is the caller's:
// whoever asks again later finds them there.
import { identityOf, type Workload } from '../model/workload.ts'

export interface AwaitedIdentitiesParts {
  /** Counted. */
  readonly wantIdentity: (id: string) => void
  readonly forgetIdentity: (id: string) => void
  /** Whether every worker holds a certificate for it. */
  readonly hasIdentity: (id: string) => boolean
}

export class AwaitedIdentities {
  readonly #parts: AwaitedIdentitiesParts
  /** By uid. */
  readonly #awaited = new Map<string, string>()

  constructor(parts: AwaitedIdentitiesParts) {
    this.#parts = parts
  }

  /** Wants it if need be. Waiting here would hold up everything else that changes. */
  isReady(workload: Workload): boolean {
    const identity = identityOf(workload)
    if (this.#awaited.get(workload.uid) !== identity) {
      this.cease(workload.uid)
      this.#awaited.set(workload.uid, identity)
      this.#parts.wantIdentity(identity)
    }
    return this.#parts.hasIdentity(identity)
  }

  /** Who waited has it; its holder forgets it in the end. */
  handOver(uid: string): void {
    this.#awaited.delete(uid)
  }

  cease(uid: string): void {
    const identity = this.#awaited.get(uid)
    this.#awaited.delete(uid)
    if (identity !== undefined) this.#parts.forgetIdentity(identity)
  }

  /** Gives up what nobody waits for any more; `still` tells the workload of a uid that does. */
  prune(still: (uid: string) => Workload | undefined): void {
    for (const [uid, identity] of [...this.#awaited]) {
      const workload = still(uid)
      if (workload === undefined || identityOf(workload) !== identity) this.cease(uid)
    }
  }
}
