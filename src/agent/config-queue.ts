// Takes updates of the resources one at a time, newest first: what arrives while one is being
// applied replaces what still waits. A world with errors changes nothing.

import type { Issue } from '../api/issue.ts'
import type { World } from '../api/world.ts'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import { Serial } from '../base/serial.ts'
import { compileWorld } from '../compile/registry.ts'
import type { Registry, Rules } from '../model/registry.ts'
import type { AddressMemory } from './address-memory.ts'

export interface ConfigQueueParts {
  readonly log: Log
  readonly clock: Clock
  /** Why these rules cannot be taken up while the agent runs; undefined if they can. */
  readonly refusal: (rules: Rules) => string | undefined
  readonly apply: (registry: Registry, rules: Rules) => Promise<void>
  readonly report: (issues: readonly Issue[]) => void
  readonly addresses: Pick<AddressMemory, 'places' | 'keep'>
  /** Told of every world that was put in force. */
  readonly remember: (world: World) => void
}

const RETRY_MS = 250
const RETRY_MAX_MS = 30_000

export class ConfigQueue {
  readonly #parts: ConfigQueueParts
  readonly #serial = new Serial()
  #waiting: World | undefined
  #failures = 0
  #refusal: string | undefined

  constructor(parts: ConfigQueueParts) {
    this.#parts = parts
  }

  /** Why the newest configuration is not in force, although nothing in it is wrong. */
  get refusal(): string | undefined {
    return this.#refusal
  }

  offer(world: World): void {
    const queued = this.#waiting !== undefined
    this.#waiting = world
    if (!queued) void this.#serial.run(() => this.#next())
  }

  /** Runs `task` while no configuration is being applied. */
  exclusive<T>(task: () => Promise<T>): Promise<T> {
    return this.#serial.run(task)
  }

  async #next(): Promise<void> {
    const world = this.#waiting
    this.#waiting = undefined
    if (world === undefined) return
    const { addresses } = this.#parts
    const { registry, rules, places, issues } = compileWorld(world, addresses.places)
    this.#parts.report(issues)
    if (issues.some((issue) => issue.severity === 'error')) {
      this.#parts.log.error('config.refused', { remedy: 'the last good configuration stays' })
      return
    }
    const refusal = this.#parts.refusal(rules)
    this.#refusal = refusal
    if (refusal !== undefined) {
      this.#parts.log.error('config.refused', { why: refusal })
      return
    }
    try {
      await addresses.keep(places)
      await this.#parts.apply(registry, rules)
      this.#parts.remember(world)
      this.#failures = 0
    } catch (error) {
      const retryMs = Math.min(RETRY_MS * 2 ** this.#failures++, RETRY_MAX_MS)
      this.#parts.log.error('config.apply-failed', { error: errorText(error), retryMs })
      // Half in force is worse than late: the same again, unless something newer has come.
      this.#parts.clock.after(retryMs, () => {
        if (this.#waiting === undefined) this.offer(world)
      })
    }
  }
}
