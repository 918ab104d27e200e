// The directory of configuration as the agent takes it: the first one must be good, or remembered
// as such; later ones are offered to the queue, and none is lost between.
import { hasErrors } from '../api/issue.ts'
import type { World } from '../api/world.ts'
import { systemClock, type Timer } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { MeshError } from '../base/mesh-error.ts'
import { compileWorld } from '../compile/registry.ts'
import { FileSource } from '../discovery/file-source.ts'
import type { Registry, Rules } from '../model/registry.ts'
import type { AddressMemory } from './address-memory.ts'
import type { ConfigQueue } from './config-queue.ts'
import type { IssueReport } from './issue-report.ts'
import type { LastGood } from './last-good.ts'

const DEBOUNCE_MS = 50
const RESCAN_MS = 60_000

export interface FirstConfig {
  readonly world: World
  readonly registry: Registry
  readonly rules: Rules
}

export class ConfigSource {
  readonly #issues: IssueReport
  readonly #directory: string
  readonly #files: FileSource
  readonly #log: Log
  readonly #memory: LastGood
  readonly #addresses: AddressMemory
  #seenVersion = 0
  #queue: ConfigQueue | undefined
  #timer: Timer | undefined

  constructor(
    parts: {
      readonly log: Log
      readonly issues: IssueReport
      readonly memory: LastGood
      readonly addresses: AddressMemory
    },
    directory: string,
  ) {
    this.#issues = parts.issues
    this.#log = parts.log
    this.#memory = parts.memory
    this.#addresses = parts.addresses
    this.#directory = directory
    this.#files = new FileSource(
      {
        log: parts.log,
        clock: systemClock,
        onChange: (update) => {
          this.#issues.report('files', update.issues)
          this.#offer()
        },
      },
      { directory, debounceMs: DEBOUNCE_MS },
    )
  }

  /**
   * What to start with: the directory, or, when that has errors, what was last in force on this
   * node. Rejects with MeshError `agent.config` when there is neither, after telling the errors.
   */
  async first(): Promise<FirstConfig> {
    const update = await this.#files.start()
    this.#seenVersion = update.version
    this.#issues.report('files', update.issues)
    const { places } = this.#addresses
    const compiled = compileWorld(update.world, places)
    this.#issues.report('world', compiled.issues)
    if (!update.refused && !hasErrors(compiled.issues)) {
      await this.#addresses.keep(compiled.places)
      return { ...compiled, world: update.world }
    }
    const world = this.#memory.recall()
    const remembered = world === undefined ? undefined : compileWorld(world, places)
    if (world === undefined || remembered === undefined || hasErrors(remembered.issues)) {
      throw new MeshError(
        'agent.config',
        `the configuration in ${this.#directory} has errors, listed above: mend them, ` +
          'then start again',
      )
    }
    const remedy = `mend the errors in ${this.#directory}: they are taken up at once`
    this.#log.warn('config.last-good', { says: 'the last good configuration is in force', remedy })
    await this.#addresses.keep(remembered.places)
    return { ...remembered, world }
  }

  /** From now on every change goes to the queue, and what came since the first. */
  feed(queue: ConfigQueue): void {
    this.#queue = queue
    this.#offer()
    this.#rescan()
  }

  /** inotify may lose events when its queue overflows, and tells nobody; a look costs little. */
  #rescan(): void {
    this.#timer = systemClock.after(RESCAN_MS, () => {
      void this.reload()
      this.#rescan()
    })
  }

  /** What did not change is not put in force again, and what was never good not at all. */
  #offer(): void {
    const { version, world } = this.#files.current
    if (this.#queue === undefined || version === this.#seenVersion) return
    this.#seenVersion = version
    this.#queue.offer(world)
  }

  /** Resolves when the directory was read; what changed is in the queue then. */
  reload(): Promise<void> {
    return this.#files.reload()
  }

  stop(): Promise<void> {
    this.#timer?.cancel()
    return this.#files.stop()
  }
}
