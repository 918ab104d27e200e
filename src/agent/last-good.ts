// Remembers the last configuration that was put in force, so that an agent that restarts beside a
// broken file goes on with it instead of leaving every workload of the node refused.
import { readFileSync, renameSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { KINDS } from '../api/resource.ts'
import type { World } from '../api/world.ts'
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import { Serial } from '../base/serial.ts'

/** Changes with the shape of resources; a memory of another shape is forgotten. */
const FORMAT = 2

interface Memory {
  readonly format: number
  /** The configuration directory it was read from. */
  readonly directory: string
  readonly world: World
}

export class LastGood {
  readonly #file: string
  readonly #directory: string
  readonly #log: Log
  readonly #serial = new Serial()
  #waiting: World | undefined

  constructor(
    parts: { readonly log: Log },
    options: { readonly file: string; readonly directory: string },
  ) {
    this.#log = parts.log
    this.#file = options.file
    this.#directory = options.directory
  }

  /** Written behind the caller's back; while one is being written only the newest waits. */
  remember(world: World): void {
    const queued = this.#waiting !== undefined
    this.#waiting = world
    if (!queued) void this.#serial.run(() => this.#write())
  }

  /** Undefined when there is none, or none that can be read. */
  recall(): World | undefined {
    let text: string
    try {
      text = readFileSync(this.#file, 'utf8')
    } catch {
      return undefined // never written
    }
    try {
      const { format, directory, world } = JSON.parse(text) as Memory
      // What another directory held is another mesh.
      const isOurs = format === FORMAT && directory === this.#directory
      const isWhole = isOurs && KINDS.every((kind) => Array.isArray(world[kind]))
      return isWhole ? world : undefined
    } catch (error) {
      this.#log.warn('config.memory-unreadable', { file: this.#file, error: errorText(error) })
      renameSync(this.#file, `${this.#file}.unreadable`)
      return undefined
    }
  }

  async settled(): Promise<void> {
    await this.#serial.idle()
  }

  async #write(): Promise<void> {
    const world = this.#waiting
    this.#waiting = undefined
    if (world === undefined) return
    const draft = `${this.#file}.draft`
    try {
      const memory: Memory = { format: FORMAT, directory: this.#directory, world }
      await writeFile(draft, JSON.stringify(memory), { mode: 0o600 })
      await rename(draft, this.#file)
    } catch (error) {
      this.#log.warn('config.memory-failed', { file: this.#file, error: errorText(error) })
    }
  }
}
