// The data-plane workers as main sees them: told things, waited for, and replaced when they die.
// A replacement is told everything its predecessor knew before it may accept anything.
import { Worker } from 'node:worker_threads'
import type { Log } from '../base/log.ts'
import { MeshError } from '../base/mesh-error.ts'
import type { FromWorker, IdentityMaterial, ToWorker } from '../model/messages.ts'
import type { WorkerData } from './worker.ts'

export interface WorkerPoolParts {
  readonly log: Log
  /** Called when a worker died, before its replacement starts. Awaited. */
  readonly onDeath: (worker: number) => Promise<void>
  /** Called when a replacement is ready and must be told everything; calls `serving` once it has
   * been, while nothing else can be told. Awaited. */
  readonly onReplaced: (worker: number, serving: () => void) => Promise<void>
  /** Told each slice of a survey, before its `ask` is settled by the last. */
  readonly onSurveyed?: (worker: number, surveyed: Surveyed) => void
}

export type Surveyed = Extract<FromWorker, { kind: 'surveyed' }>

type Settle = () => void

export interface AskOptions {
  readonly transfer?: ArrayBuffer[]
  /** Without an answer by then the worker is ended. */
  readonly timeoutMs?: number
}

const RESTART_DELAY_MS = 100
const RESTART_DELAY_MAX_MS = 5_000
const STABLE_MS = 10_000
/** A worker that does not answer for so long does not turn its loop any more. */
const ANSWER_TIMEOUT_MS = 60_000

export class WorkerPool {
  readonly #parts: WorkerPoolParts
  readonly #data: readonly WorkerData[]
  readonly #file: URL
  readonly #threads: (Worker | undefined)[]
  /** By worker, then by the answer waited for; several may wait for the same. */
  readonly #waiting: Map<string, Settle[]>[]
  readonly #ends = new Set<Promise<void>>()
  /** Workers that hold everything and may be given more. */
  readonly #serving = new Set<number>()
  #stopping = false

  /** `file` is what the threads run, for tests. */
  constructor(
    parts: WorkerPoolParts,
    data: readonly WorkerData[],
    file = new URL(workerFile(), import.meta.url),
  ) {
    this.#parts = parts
    this.#file = file
    this.#data = data
    this.#threads = data.map(() => undefined)
    this.#waiting = data.map(() => new Map())
  }

  /** Workers that hold everything the mesh knows; a starting replacement is not among them. */
  alive(): readonly number[] {
    return [...this.#serving].sort((a, b) => a - b)
  }

  async start(): Promise<void> {
    await Promise.all(this.#data.map((_, worker) => this.#spawn(worker, RESTART_DELAY_MS)))
    for (const worker of this.#data.keys()) this.#serving.add(worker)
  }

  /** Sends and waits for the answer; resolves as well when that worker dies, because a dead
   * worker holds nothing that could be stale. */
  ask(
    worker: number,
    message: ToWorker,
    answer: string,
    { transfer = [], timeoutMs = ANSWER_TIMEOUT_MS }: AskOptions = {},
  ): Promise<void> {
    const thread = this.#threads[worker]
    if (thread === undefined) return Promise.resolve()
    const answered = this.#answered(worker, answer)
    thread.postMessage(message, transfer)
    const late = setTimeout(() => {
      this.#parts.log.error('worker.stuck', { worker, answer, afterMs: timeoutMs })
      // A loop that never turns blocks every change: dead, it is replaced.
      void thread.terminate()
    }, timeoutMs)
    late.unref()
    return answered.finally(() => clearTimeout(late))
  }

  askAll(message: ToWorker, answer: string, options: AskOptions = {}): Promise<unknown> {
    return Promise.all(this.alive().map((worker) => this.ask(worker, message, answer, options)))
  }

  tell(worker: number, message: ToWorker): void {
    this.#threads[worker]?.postMessage(message)
  }

  /** Each worker gets a copy of the key of its own, transferred, and zeroes it. */
  giveIdentity(worker: number, material: IdentityMaterial): Promise<void> {
    const keyPem = material.keyPem.slice(0)
    const answer = `identity-held ${material.id} ${material.serial}`
    return this.ask(worker, { kind: 'identity', material: { ...material, keyPem } }, answer, {
      transfer: [keyPem],
    })
  }

  /** Ends every worker; what they had open is closed by their threads' end. */
  async stop(): Promise<void> {
    this.#stopping = true
    await Promise.all(
      this.#threads.map(async (thread) => {
        if (thread === undefined) return
        thread.postMessage({ kind: 'stop' } satisfies ToWorker)
        const gone = new Promise((resolve) => thread.once('exit', resolve))
        const late = setTimeout(() => void thread.terminate(), 2_000)
        await gone
        clearTimeout(late)
      }),
    )
    await Promise.all(this.#ends)
  }

  #spawn(worker: number, delayMs: number): Promise<Worker> {
    const data = this.#data[worker]
    if (data === undefined) throw new MeshError('agent.worker', `there is no worker ${worker}`)
    const thread = new Worker(this.#file, {
      workerData: data,
      name: `weft-data-${worker}`,
      resourceLimits: { maxOldGenerationSizeMb: data.heapMaxMb },
    })
    const startedMs = performance.now()
    let cause: unknown
    thread.on('error', (error) => {
      cause = error
    })
    thread.on('message', (message: FromWorker) => this.#receive(worker, message))
    thread.on('exit', (code) => {
      const end = this.#died(worker, thread, { code, cause, startedMs, delayMs })
      this.#ends.add(end)
      void end.finally(() => this.#ends.delete(end))
    })
    this.#threads[worker] = thread
    return this.#answered(worker, 'ready').then(() => {
      if (this.#threads[worker] !== thread) {
        throw new MeshError('agent.worker', `worker ${worker} died while it started`, { cause })
      }
      return thread
    })
  }

  /** Resolves with the answer, or with the worker's death. */
  #answered(worker: number, answer: string): Promise<void> {
    return new Promise((resolve) => {
      const waiting = this.#waiting[worker]?.get(answer)
      if (waiting === undefined) this.#waiting[worker]?.set(answer, [resolve])
      else waiting.push(resolve)
    })
  }

  #receive(worker: number, message: FromWorker): void {
    if (message.kind === 'log') {
      this.#parts.log[message.level](message.event, { worker, ...message.fields })
      return
    }
    if (message.kind === 'surveyed') {
      this.#parts.onSurveyed?.(worker, message)
      if (!message.slice.isLast) return
    }
    const answer = answerOf(message)
    const waiting = this.#waiting[worker]?.get(answer) ?? []
    this.#waiting[worker]?.delete(answer)
    for (const settle of waiting) settle()
  }

  async #died(
    worker: number,
    thread: Worker,
    end: { code: number; cause: unknown; startedMs: number; delayMs: number },
  ): Promise<void> {
    this.#serving.delete(worker)
    if (this.#threads[worker] === thread) this.#threads[worker] = undefined
    const waiting = [...(this.#waiting[worker]?.values() ?? [])].flat()
    this.#waiting[worker]?.clear()
    for (const settle of waiting) settle()
    if (this.#stopping) return
    this.#parts.log.error('worker.died', { worker, code: end.code, error: stackOf(end.cause) })
    try {
      await this.#parts.onDeath(worker)
    } catch (error) {
      this.#parts.log.error('worker.death-unhandled', { worker, error: stackOf(error) })
    }
    const stable = performance.now() - end.startedMs > STABLE_MS
    const delayMs = stable ? RESTART_DELAY_MS : Math.min(end.delayMs * 2, RESTART_DELAY_MAX_MS)
    await new Promise((resolve) => setTimeout(resolve, stable ? 0 : end.delayMs))
    if (!this.#stopping) await this.#replace(worker, delayMs)
  }

  async #replace(worker: number, delayMs: number): Promise<void> {
    try {
      const thread = await this.#spawn(worker, delayMs)
      const serving = (): void => {
        // It may have died while it was told everything: then it serves nobody.
        if (this.#threads[worker] === thread) this.#serving.add(worker)
      }
      await this.#parts.onReplaced(worker, serving)
      this.#parts.log.info('worker.replaced', { worker })
    } catch (error) {
      this.#parts.log.error('worker.replace-failed', { worker, error: stackOf(error) })
      // Half-told it must not accept; its exit leads here again, later.
      await this.#threads[worker]?.terminate()
    }
  }
}

/** The name under which a message settles an `ask`. */
export function answerOf(message: Exclude<FromWorker, { kind: 'log' }>): string {
  switch (message.kind) {
    case 'ready':
      return 'ready'
    case 'applied':
      return `applied ${message.version}`
    case 'identity-held':
      return `identity-held ${message.id} ${message.serial}`
    case 'rechecked':
      return `rechecked ${message.sequence}`
    case 'surveyed':
      return `surveyed ${message.sequence}`
    case 'drained':
      return 'drained'
    default:
      return `${message.kind} ${message.uid}`
  }
}

function workerFile(): string {
  return import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js'
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
