// Runs tasks one after another, in the order they were given.

export class Serial {
  #tail: Promise<unknown> = Promise.resolve()

  /** The task's own outcome; a failure does not stop the tasks behind it. */
  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(task)
    this.#tail = result.catch(() => {})
    return result
  }

  /** Resolves when everything given so far has ended. */
  async idle(): Promise<void> {
    await this.#tail
  }
}
