// Notices when an operator changes the authority's certificates: a root added or removed, an
// intermediate replaced. Only contents count, so that our own first writing is no change.
import { createHash } from 'node:crypto'
import { type FSWatcher, readdirSync, readFileSync, watch } from 'node:fs'
import { join } from 'node:path'
import type { Clock, Timer } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'

const DEBOUNCE_MS = 200

export class AuthorityWatch {
  readonly #parts: { readonly clock: Clock; readonly log: Log; readonly onChange: () => void }
  readonly #directories: readonly string[]
  readonly #watchers: FSWatcher[] = []
  #digest = ''
  #timer: Timer | undefined

  constructor(
    parts: { readonly clock: Clock; readonly log: Log; readonly onChange: () => void },
    options: { readonly directory: string; readonly nodeName: string },
  ) {
    this.#parts = parts
    const { directory, nodeName } = options
    this.#directories = [directory, join(directory, 'roots'), join(directory, 'nodes', nodeName)]
  }

  /** The authority must be open: what is there now is what later changes are compared with. */
  start(): void {
    this.#digest = this.#read()
    for (const directory of this.#directories) {
      try {
        this.#watchers.push(watch(directory, { persistent: false }, this.#touched))
      } catch (error) {
        // `roots` need not exist; whoever makes it touches the directory above.
        this.#parts.log.debug('authority.watch', { directory, error: errorText(error) })
      }
    }
  }

  stop(): void {
    this.#timer?.cancel()
    for (const watcher of this.#watchers) watcher.close()
  }

  readonly #touched = (): void => {
    this.#timer?.cancel()
    this.#timer = this.#parts.clock.after(DEBOUNCE_MS, () => {
      const digest = this.#read()
      if (digest === this.#digest) return
      this.#parts.log.info('authority.changed', { directory: this.#directories[0] })
      this.stop()
      this.#watchers.length = 0
      this.start()
      this.#parts.onChange()
    })
  }

  #read(): string {
    const hash = createHash('sha256')
    for (const directory of this.#directories) {
      for (const name of certificatesIn(directory)) {
        hash.update(`${directory}/${name}\0`).update(contentOf(join(directory, name)))
      }
    }
    return hash.digest('hex')
  }
}

/** A link that leads nowhere, or a file that vanishes meanwhile, is a content like others. */
function contentOf(file: string): Buffer | string {
  try {
    return readFileSync(file)
  } catch {
    return 'unreadable'
  }
}

function certificatesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith('.crt'))
      .sort()
  } catch {
    return []
  }
}
