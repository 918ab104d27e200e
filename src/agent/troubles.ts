// Why workloads that should be in the mesh are not, as it was last found out, for whoever asks.

export class Troubles {
  readonly #byUid = new Map<string, string>()

  set(uid: string, why: string): void {
    this.#byUid.set(uid, why)
  }

  clear(uid: string): void {
    this.#byUid.delete(uid)
  }

  of(uid: string): string | undefined {
    return this.#byUid.get(uid)
  }

  /** Forgets those of workloads that nobody knows any more. */
  prune(isKnown: (uid: string) => boolean): void {
    for (const uid of [...this.#byUid.keys()]) if (!isKnown(uid)) this.#byUid.delete(uid)
  }
}
