// A running program of the lab: its output as it comes, its end, and ways to wait for both.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { type CommandResult, type ExecOptions, exec } from './shell.ts'
import { type WaitOptions, waitUntil, within } from './wait.ts'

/** Where a program runs: a network namespace by name, and a cgroup by path. */
export interface Place {
  readonly namespace: string
  readonly cgroup: string
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** `run` resolves when the program has said this, on either stream. */
  readonly waitFor?: RegExp | string
  readonly timeoutMs?: number
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

const OUTPUT_KEPT = 16 * 1024 * 1024
const START_TIMEOUT_MS = 20_000

// The shell joins the cgroup and then becomes nsenter and then the program: one process, which is
// in its place before the program's first instruction.
const LAUNCHER =
  'cgroup=$1; netns=$2; shift 2; echo $$ > "$cgroup/cgroup.procs" || exit 125; ' +
  'exec nsenter --net="/run/netns/$netns" -- "$@"'

/** The command line that runs `argv` in its place. */
export function launch(place: Place, argv: readonly string[]): string[] {
  return ['sh', '-c', LAUNCHER, 'launch', place.cgroup, place.namespace, ...argv]
}

/** Runs a short command in its place, to its end. */
export function execIn(
  place: Place,
  argv: readonly string[],
  options: ExecOptions = {},
): Promise<CommandResult> {
  return exec(launch(place, argv), options)
}

/** Starts a program in its place. */
export async function runIn(
  place: Place,
  argv: readonly string[],
  options: RunOptions = {},
): Promise<Program> {
  const program = new Program(argv, launch(place, argv), options)
  if (options.waitFor === undefined) return program
  try {
    await program.waitFor(options.waitFor, { timeoutMs: options.timeoutMs ?? START_TIMEOUT_MS })
  } catch (error) {
    program.kill()
    throw error
  }
  return program
}

export class Program {
  /** Also the pid inside the place: the launcher becomes the program. */
  readonly pid: number
  readonly exited: Promise<Exit>
  stdout = ''
  stderr = ''
  exit: Exit | undefined
  readonly #argv: readonly string[]
  readonly #child: ChildProcessWithoutNullStreams

  constructor(argv: readonly string[], commandLine: readonly string[], options: RunOptions = {}) {
    const [file = '', ...args] = commandLine
    this.#argv = argv
    this.#child = spawn(file, args, {
      // Ctrl-C is for the lab's owner, who ends its programs in order.
      detached: true,
      env: { ...process.env, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    })
    this.pid = this.#child.pid ?? -1
    this.#child.stdin.on('error', () => {})
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout = (this.stdout + text).slice(-OUTPUT_KEPT)
    })
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-OUTPUT_KEPT)
    })
    this.exited = new Promise((resolve) => {
      const end = (exit: Exit) => {
        this.exit = exit
        resolve(exit)
      }
      this.#child.on('error', () => end({ code: -1, signal: null }))
      this.#child.on('close', (code, signal) => end({ code, signal }))
    })
  }

  get isRunning(): boolean {
    return this.exit === undefined
  }

  /** Resolves with what matched once either stream has said it; rejects when the program ends. */
  async waitFor(pattern: RegExp | string, options: WaitOptions = {}): Promise<string> {
    const wanted = typeof pattern === 'string' ? new RegExp(RegExp.escape(pattern)) : pattern
    const find = () => (wanted.exec(this.stdout) ?? wanted.exec(this.stderr))?.[0]
    const what = `${pattern} from ${this.describe()}`
    await waitUntil(() => find() !== undefined || !this.isRunning, what, options)
    const found = find()
    if (found !== undefined) return found
    throw new Error(`ended before it said ${pattern}: ${this.describe()}`)
  }

  /** Resolves when the program has ended by itself with status 0; rejects otherwise. */
  async finish(timeoutMs = START_TIMEOUT_MS): Promise<Program> {
    const exit = await within(this.exited, timeoutMs, `end of ${this.describe()}`)
    if (exit.code !== 0) throw new Error(`failed: ${this.describe()}`)
    return this
  }

  /** The last line of standard output as JSON; the lab's own clients report so. */
  report<T = Record<string, unknown>>(): T {
    const line = this.stdout.trimEnd().split('\n').at(-1) ?? ''
    try {
      return JSON.parse(line) as T
    } catch (error) {
      throw new Error(`no report from ${this.describe()}`, { cause: error })
    }
  }

  write(text: string): void {
    this.#child.stdin.write(text)
  }

  endInput(): void {
    this.#child.stdin.end()
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    if (this.isRunning) this.#child.kill(signal)
  }

  /** SIGTERM, and SIGKILL if that is not enough; resolves when it is gone. */
  async stop(graceMs = 5_000): Promise<Exit> {
    this.kill('SIGTERM')
    const timer = setTimeout(() => this.kill('SIGKILL'), graceMs)
    const exit = await this.exited
    clearTimeout(timer)
    return exit
  }

  describe(): string {
    const state = this.exit === undefined ? 'running' : JSON.stringify(this.exit)
    const said = `${this.stdout.slice(-1500)}${this.stderr.slice(-1500)}`.trim()
    return `\`${this.#argv.join(' ').slice(0, 200)}\` (${state}), which said: ${said}`
  }
}
