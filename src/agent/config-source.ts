// The directory of configuration as the agent takes it: the first one must be good, later ones
// are offered to the queue, and none is lost between.
import { systemClock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { MeshError } from '../base/mesh-error.ts'
import { compileWorld } from '../compile/registry.ts'
import { FileSource } from '../discovery/file-source.ts'
import type { Registry, Rules } from '../model/registry.ts'
import type { ConfigQueue } from './config-queue.ts'
import type { IssueReport } from './issue-report.ts'

const DEBOUNCE_MS = 50

export class ConfigSource {
  readonly #issues: IssueReport
  readonly #directory: string
  readonly #files: FileSource
  #firstVersion = 0
  #queue: ConfigQueue | undefined

  constructor(parts: { readonly log: Log; readonly issues: IssueReport }, directory: string) {
    this.#issues = parts.issues
    this.#directory = directory
    this.#files = new FileSource(
      {
        log: parts.log,
        clock: systemClock,
        onChange: (update) => {
          this.#issues.report('files', update.issues)
          this.#queue?.offer(update.world)
        },
      },
      { directory, debounceMs: DEBOUNCE_MS },
    )
  }

  /** Rejects with MeshError `agent.config` when it has errors, after telling them. */
  async first(): Promise<{ readonly registry: Registry; readonly rules: Rules }> {
    const update = await this.#files.start()
    this.#firstVersion = update.version
    this.#issues.report('files', update.issues)
    const { registry, rules, issues } = compileWorld(update.world)
    this.#issues.report('world', issues)
    if (update.refused || issues.some((issue) => issue.severity === 'error')) {
      throw new MeshError(
        'agent.config',
        `the configuration in ${this.#directory} has errors, listed above: mend them, ` +
          'then start again',
      )
    }
    return { registry, rules }
  }

  /** From now on every change goes to the queue, and what came since the first. */
  feed(queue: ConfigQueue): void {
    this.#queue = queue
    const { version, world } = this.#files.current
    if (version !== this.#firstVersion) queue.offer(world)
  }

  reload(): void {
    void this.#files.reload()
  }

  stop(): Promise<void> {
    return this.#files.stop()
  }
}
