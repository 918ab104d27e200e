// Runs `weft agent` on a node of the lab, and reads what it says: its log and its access log.
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { AccessEntry } from '../../src/model/access-entry.ts'
import type { Node } from './node.ts'
import type { Pod } from './pod.ts'
import type { Exit, Program } from './program.ts'
import { crashWorker } from './programs.ts'
import { type WaitOptions, waitUntil } from './wait.ts'

export interface AgentOptions {
  /** Default: the lab's. */
  readonly configDirectory?: string
  /** Data-plane threads; default 2. */
  readonly workers?: number
  readonly logLevel?: 'error' | 'warn' | 'info' | 'debug'
  readonly env?: Readonly<Record<string, string>>
  /** Name of the cgroup below the agents' own in which it is started, as a service manager does. */
  readonly service?: string
  /** Further arguments of `weft agent`. */
  readonly args?: readonly string[]
  readonly readyTimeoutMs?: number
}

export interface AgentSite {
  readonly node: Node
  readonly directory: string
  readonly pins: string
  readonly configDirectory: string
}

/** A line of the agent's log; `event` names it. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly event: string }

const WEFT = fileURLToPath(new URL('../../bin/weft.mjs', import.meta.url))
const READY = 'agent.ready'
const READY_TIMEOUT_MS = 30_000

export class Agent {
  readonly node: Node
  readonly pins: string
  readonly stateDirectory: string
  readonly accessLogFile: string
  readonly #site: AgentSite
  #options: AgentOptions
  #program: Program | undefined

  constructor(site: AgentSite, options: AgentOptions) {
    this.#site = site
    this.#options = options
    this.node = site.node
    this.pins = site.pins
    this.stateDirectory = join(site.directory, 'state')
    this.accessLogFile = join(site.directory, 'access.log')
  }

  get pid(): number {
    return this.#running().pid
  }

  get program(): Program {
    return this.#running()
  }

  /** Starts the process and waits until it says that it is ready. */
  async start(options: AgentOptions = this.#options): Promise<void> {
    this.#options = options
    mkdirSync(this.stateDirectory, { recursive: true })
    const program = await this.node.run(this.#commandLine(options), {
      cgroup: join(this.node.agentCgroup, options.service ?? ''),
      env: { NODE_NO_WARNINGS: '1', ...options.env },
    })
    this.#program = program
    await program.waitFor(READY, { timeoutMs: options.readyTimeoutMs ?? READY_TIMEOUT_MS })
  }

  /** Kills it, as a crash would; resolves when it is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#program?.kill(signal)
    await this.#program?.exited
  }

  /** Makes a data-plane worker throw; resolves when the agent has noticed. */
  async crashWorker(worker: number): Promise<void> {
    const deaths = () => this.logLines().filter(({ event }) => event === 'worker.died').length
    const before = deaths()
    // Node's own signal for opening the inspector, at its own port; the agent has no part in it.
    this.program.kill('SIGUSR1')
    const line = await this.program.waitFor(/Debugger listening on ws:\/\/[^/]+:\d+/)
    const port = Number(line.split(':').at(-1))
    await this.node.exec(crashWorker(port, `weft-data-${worker}`))
    await waitUntil(() => deaths() > before, `the death of worker ${worker}`)
  }

  /** Asks it to end; resolves when it is gone. */
  async stop(): Promise<Exit | undefined> {
    return this.#program?.stop(15_000)
  }

  async restart(options: AgentOptions = this.#options): Promise<void> {
    await this.stop()
    await this.start(options)
  }

  /** Lines of its log since it was started, standard output and standard error alike. */
  logLines(): LogLine[] {
    const { stdout, stderr } = this.#running()
    return [...jsonLines<LogLine>(stdout), ...jsonLines<LogLine>(stderr)]
  }

  async waitForLog(
    matches: (line: LogLine) => boolean,
    what: string,
    options?: WaitOptions,
  ): Promise<LogLine> {
    return waitUntil(() => this.logLines().find(matches), `${what} in ${this.#said()}`, options)
  }

  /** Resolves once the workload's connections are captured. */
  async waitEnrolled(pod: Pick<Pod, 'name' | 'namespace'>): Promise<void> {
    const tail = `/${pod.namespace}/${pod.name}`
    const isThis = (line: LogLine) => String(line.workload ?? '').endsWith(tail)
    await waitUntil(() => {
      const told = this.logLines().filter(isThis)
      const last = told.findLast(({ event }) => /^enrolment\.(entered|left)$/.test(event))
      return last?.event === 'enrolment.entered'
    }, `enrolment of ${pod.name}: ${this.#said()}`)
  }

  accessLog(): AccessEntry[] {
    if (!existsSync(this.accessLogFile)) return []
    return jsonLines<AccessEntry>(readFileSync(this.accessLogFile, 'utf8'))
  }

  async waitForAccess(
    matches: (entry: AccessEntry) => boolean,
    what: string,
    options?: WaitOptions,
  ): Promise<AccessEntry> {
    return waitUntil(() => this.accessLog().find(matches), `${what} in the access log`, options)
  }

  #commandLine(options: AgentOptions): string[] {
    return [
      process.execPath,
      WEFT,
      'agent',
      ...['--config', options.configDirectory ?? this.#site.configDirectory],
      ...['--node', this.node.name],
      ...['--cgroup', this.node.agentCgroup],
      ...['--watch', this.node.podsCgroup],
      ...['--pins', this.pins],
      ...['--state', this.stateDirectory],
      ...['--access-log', this.accessLogFile],
      ...['--workers', String(options.workers ?? 2)],
      ...(options.logLevel === undefined ? [] : ['--log-level', options.logLevel]),
      ...(options.args ?? []),
    ]
  }

  #running(): Program {
    if (this.#program === undefined) throw new Error(`the agent of ${this.node.name} never started`)
    return this.#program
  }

  #said(): string {
    return this.#program?.describe() ?? 'an agent that never started'
  }
}

function jsonLines<T>(text: string): T[] {
  return text.split('\n').flatMap((line) => {
    if (!line.startsWith('{')) return []
    try {
      return [JSON.parse(line) as T]
    } catch {
      return [] // the last line may be half written
    }
  })
}
