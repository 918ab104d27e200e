// A terminal as a full screen: entered, redrawn whole, and given back as it was, however the
// program ends.
import { writeSync } from 'node:fs'
import type { Line, LineStyle } from './screenful.ts'

/** The parts of process.stdout and process.stdin that a screen uses. */
export interface ScreenOutput {
  readonly fd: number
  readonly columns: number
  readonly rows: number
  readonly writableNeedDrain: boolean
  write(text: string): boolean
  on(event: 'resize', handler: () => void): unknown
  off(event: 'resize', handler: () => void): unknown
}

export interface ScreenInput {
  readonly isTTY?: boolean
  setRawMode?(raw: boolean): unknown
  on(event: 'data', handler: (text: string | Buffer) => void): unknown
  off(event: 'data', handler: (text: string | Buffer) => void): unknown
  resume(): unknown
  pause(): unknown
}

/** The alternate screen without a cursor, and back. */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[2J'
const LEAVE = '\x1b[0m\x1b[?25h\x1b[?1049l'

const STYLES: Readonly<Record<LineStyle, string>> = {
  plain: '',
  title: '\x1b[1m',
  head: '\x1b[7m',
  warn: '\x1b[33m',
  bad: '\x1b[31m',
  quiet: '\x1b[2m',
}

export interface ScreenHandlers {
  readonly onKey: (key: string) => void
  readonly onResize: () => void
}

export class Screen {
  readonly #output: ScreenOutput
  readonly #input: ScreenInput
  readonly #colours: boolean
  readonly #handlers: ScreenHandlers
  #isOpen = false

  constructor(
    parts: { readonly output: ScreenOutput; readonly input: ScreenInput },
    options: { readonly colours: boolean },
    handlers: ScreenHandlers,
  ) {
    this.#output = parts.output
    this.#input = parts.input
    this.#colours = options.colours
    this.#handlers = handlers
  }

  get size(): { readonly columns: number; readonly rows: number } {
    return { columns: this.#output.columns, rows: this.#output.rows }
  }

  enter(): void {
    if (this.#isOpen) return
    this.#isOpen = true
    this.#output.write(ENTER)
    this.#output.on('resize', this.#handlers.onResize)
    process.on('exit', this.#leaveAtOnce)
    if (this.#input.isTTY !== true) return
    this.#input.setRawMode?.(true)
    this.#input.on('data', this.#keys)
    this.#input.resume()
  }

  /** A terminal that has not taken the last picture yet is left alone. */
  draw(lines: readonly Line[]): void {
    if (!this.#isOpen || this.#output.writableNeedDrain) return
    const shown = lines.slice(0, this.#output.rows)
    const painted = shown.map((line) => `${this.#painted(line)}\x1b[K`)
    // No newline after the last line: it would scroll the first away.
    this.#output.write(`\x1b[H${painted.join('\r\n')}\x1b[J`)
  }

  leave(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#output.off('resize', this.#handlers.onResize)
    process.off('exit', this.#leaveAtOnce)
    if (this.#input.isTTY === true) {
      this.#input.off('data', this.#keys)
      this.#input.setRawMode?.(false)
      this.#input.pause()
    }
    this.#output.write(LEAVE)
  }

  /** Nothing that waits would happen any more. */
  readonly #leaveAtOnce = (): void => {
    this.#isOpen = false
    if (this.#input.isTTY === true) this.#input.setRawMode?.(false)
    try {
      writeSync(this.#output.fd, LEAVE)
    } catch {
      // The terminal is gone.
    }
  }

  readonly #keys = (text: string | Buffer): void => {
    for (const key of text.toString()) this.#handlers.onKey(key)
  }

  #painted({ text, style }: Line): string {
    const start = STYLES[style]
    return this.#colours && start !== '' ? `${start}${text}\x1b[0m` : text
  }
}
