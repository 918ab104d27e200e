// The view while it lives: looks at the agents in every interval and draws what it sees, until it
// is told to end; or looks twice and says what it saw, for those who read no screen.
import type { Clock } from '../../base/clock.ts'
import { Looks } from './looks.ts'
import { Screen, type ScreenInput, type ScreenOutput } from './screen.ts'
import { screenful } from './screenful.ts'

export interface ViewOptions {
  /** State directories of the agents. */
  readonly states: readonly string[]
  readonly intervalMs: number
  readonly title: string
}

const CTRL_C = '\x03'
const PLAIN_COLUMNS = 10_000

/** Two looks, an interval apart, so that there are rates; as text. Rejects when no agent answers. */
export async function plainView(options: ViewOptions, clock: Clock): Promise<string> {
  const looks = new Looks(options.states, () => clock.elapsedMs())
  await looks.take()
  await new Promise<void>((resolve) => {
    // Held, unlike the clock's own timers: nothing else keeps the process alive meanwhile.
    setTimeout(resolve, options.intervalMs)
  })
  await looks.take()
  const lines = screenful(looks.scene(options.title, false), { columns: PLAIN_COLUMNS })
  return `${lines.map(({ text }) => text).join('\n')}\n`
}

export interface Terminal {
  readonly output: ScreenOutput
  readonly input: ScreenInput
  readonly colours: boolean
}

/** Resolves when `q` is pressed or `signal` aborts, with the terminal as it was before. Rejects
 * when no agent answers at the start. */
export async function liveView(
  options: ViewOptions,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<void> {
  const looks = new Looks(options.states, () => performance.now())
  await looks.take()
  if (signal.aborted) return
  await new Promise<void>((resolve) => {
    new LiveView(options, terminal, looks, resolve).start(signal)
  })
}

class LiveView {
  readonly #options: ViewOptions
  readonly #looks: Looks
  readonly #screen: Screen
  readonly #resolve: () => void
  #timer: NodeJS.Timeout | undefined
  #isPaused = false
  #isOver = false

  constructor(options: ViewOptions, terminal: Terminal, looks: Looks, resolve: () => void) {
    this.#options = options
    this.#looks = looks
    this.#resolve = resolve
    this.#screen = new Screen(terminal, terminal, {
      onKey: (key) => this.#key(key),
      onResize: () => this.#draw(),
    })
  }

  start(signal: AbortSignal): void {
    signal.addEventListener('abort', () => this.#end(), { once: true })
    this.#screen.enter()
    this.#draw()
    this.#later()
  }

  #later(): void {
    this.#timer = setTimeout(() => void this.#turn(), this.#options.intervalMs)
  }

  async #turn(): Promise<void> {
    if (!this.#isPaused) {
      // An agent that does not answer is said to be silent, and asked again.
      await this.#looks.take()
      if (!this.#isPaused) this.#draw()
    }
    if (!this.#isOver) this.#later()
  }

  #draw(): void {
    if (this.#isOver) return
    const { title } = this.#options
    const keys = `${title} (q quits, p ${this.#isPaused ? 'goes on' : 'pauses'})`
    this.#screen.draw(screenful(this.#looks.scene(keys, this.#isPaused), this.#screen.size))
  }

  #key(key: string): void {
    if (key === 'q' || key === 'Q' || key === CTRL_C) this.#end()
    if (key === 'p' || key === 'P') {
      this.#isPaused = !this.#isPaused
      this.#draw()
    }
  }

  #end(): void {
    if (this.#isOver) return
    this.#isOver = true
    clearTimeout(this.#timer)
    this.#screen.leave()
    this.#resolve()
  }
}

/** Colours where a person looks on, unless they want none. Source: no-color.org. */
export function wantsColours(
  output: { readonly isTTY?: boolean },
  environment: Readonly<Record<string, string | undefined>>,
): boolean {
  const { NO_COLOR, TERM } = environment
  return output.isTTY === true && (NO_COLOR ?? '') === '' && TERM !== 'dumb'
}
