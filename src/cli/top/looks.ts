// Looks at every agent, again and again, and keeps what the view needs of the past.
import { AdminClient } from '../../admin/client.ts'
import type { Status } from '../../admin/shapes.ts'
import { errorText } from '../../base/mesh-error.ts'
import type { Look } from './rows.ts'
import type { Scene } from './screenful.ts'

/** How long what happened counts as lately. */
const LATELY_MS = 10_000
/** Looks between two questions for how the agents are. */
const STATUS_EVERY = 5

interface Kept {
  readonly look: Look
  readonly takenMs: number
}

export class Looks {
  readonly #clients: readonly AdminClient[]
  readonly #nowMs: () => number
  #kept: readonly Kept[] = []
  #statuses: readonly Status[] = []
  #silent: readonly string[] = []
  #count = 0

  constructor(states: readonly string[], nowMs: () => number) {
    this.#clients = states.map((state) => new AdminClient(state))
    this.#nowMs = nowMs
  }

  /** Rejects with the first agent's MeshError when none answers. */
  async take(): Promise<void> {
    const takenMs = this.#nowMs()
    const answers = await settled(this.#clients.map((client) => client.connections()))
    if (answers.good.length === 0 && this.#count === 0) throw answers.errors[0]
    this.#silent = answers.errors.map(errorText)
    if (this.#count++ % STATUS_EVERY === 0) {
      this.#statuses = (await settled(this.#clients.map((client) => client.status()))).good
    }
    const young = this.#kept.filter(({ takenMs: at }) => takenMs - at <= LATELY_MS)
    this.#kept = [...young, { look: answers.good, takenMs }]
  }

  scene(title: string, isPaused: boolean): Scene {
    return {
      title,
      isPaused,
      now: this.#kept.at(-1)?.look ?? [],
      before: this.#kept.at(-2)?.look,
      past: this.#kept.length > 1 ? this.#kept[0]?.look : undefined,
      statuses: this.#statuses,
      silent: this.#silent,
    }
  }
}

async function settled<T>(
  asked: readonly Promise<T>[],
): Promise<{ readonly good: readonly T[]; readonly errors: readonly unknown[] }> {
  const results = await Promise.allSettled(asked)
  return {
    good: results.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : [])),
    errors: results.flatMap((each) => (each.status === 'rejected' ? [each.reason] : [])),
  }
}
