// Runs system commands of the lab itself (ip, sysctl ...); programs under test are in program.ts.
import { spawn, spawnSync } from 'node:child_process'
import { PATIENCE } from './wait.ts'

export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** A command that failed, with everything it said. */
export class CommandError extends Error {
  readonly result: CommandResult

  constructor(argv: readonly string[], result: CommandResult) {
    const said = `${result.stderr}${result.stdout}`.trim().slice(-2000)
    super(`\`${argv.join(' ').slice(0, 300)}\` ended with ${result.code}: ${said}`)
    this.result = result
  }
}

export interface ExecOptions {
  readonly input?: string | Buffer
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly timeoutMs?: number
  /** false: a non-zero end is a result, not an error. */
  readonly check?: boolean
}

const TIMEOUT_MS = 30_000 * PATIENCE

/** Runs a command to its end. Rejects with CommandError if it fails or takes too long. */
export function exec(argv: readonly string[], options: ExecOptions = {}): Promise<CommandResult> {
  const [file = '', ...args] = argv
  const child = spawn(file, args, {
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    timeout: options.timeoutMs ?? TIMEOUT_MS,
    killSignal: 'SIGKILL',
  })
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk))
  // A command that ends before it read its input is judged by its exit code.
  child.stdin.on('error', () => {})
  child.stdin.end(options.input ?? '')
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      const result = {
        code: code ?? -1,
        stdout: Buffer.concat(out).toString(),
        stderr: Buffer.concat(err).toString(),
      }
      if (result.code === 0 || options.check === false) resolve(result)
      else reject(new CommandError(argv, result))
    })
  })
}

/** Runs lines of shell; the first that fails ends it. */
export function script(lines: readonly string[]): Promise<CommandResult> {
  return exec(['sh', '-e', '-c', lines.join('\n')])
}

/** For clean-up in exit handlers, where nothing can be awaited; failures are part of the result. */
export function execSync(argv: readonly string[]): CommandResult {
  const [file = '', ...args] = argv
  const result = spawnSync(file, args, { encoding: 'utf8', timeout: TIMEOUT_MS })
  return {
    code: result.status ?? -1,
    stdout: result.stdout ?? '',
    stderr: result.stderr ?? String(result.error ?? ''),
  }
}
