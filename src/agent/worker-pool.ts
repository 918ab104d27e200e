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
}

type Waiting = { readonly worker: number; readonly settle: (error?: Error) => void }

const RESTART_DELAY_MS = 100
const RESTART_DELAY_MAX_MS = 5_000
const STABLE_MS = 10_000

export class WorkerPool {
  readonly #parts: WorkerPoolParts
  readonly #data: readonly WorkerData[]
  readonly #threads: (Worker | undefined)[]
  readonly #waiting = new Map<string, Waiting>()
  readonly #ends = new Set<Promise<void>>()
  /** Workers that hold everything and may be given more. */
  readonly #serving = new Set<number>()
  #stopping = false

  constructor(parts: WorkerPoolParts, data: readonly WorkerData[]) {
    this.#parts = parts
    this.#data = data
    this.#threads = data.map(() => undefined)
  }

  get size(): number {
    return this.#threads.length
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
    transfer: ArrayBuffer[] = [],
  ): Promise<void> {
    const thread = this.#threads[worker]
    if (thread === undefined) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#waiting.set(`${worker} ${answer}`, {
        worker,
        settle: (error) => (error === undefined ? resolve() : reject(error)),
      })
      thread.postMessage(message, transfer)
    })
  }

  askAll(message: ToWorker, answer: string): Promise<unknown> {
    return Promise.all(this.alive().map((worker) => this.ask(worker, message, answer)))
  }

  tell(worker: number, message: ToWorker): void {
    this.#threads[worker]?.postMessage(message)
  }

  /** Each worker gets a copy of the key of its own, transferred, and zeroes it. */
  giveIdentity(worker: number, material: IdentityMaterial): Promise<void> {
    const keyPem = material.keyPem.slice(0)
    const answer = `identity-held ${material.id} ${material.serial}`
    return this.ask(worker, { kind: 'identity', material: { ...material, keyPem } }, answer, [
      keyPem,
    ])
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

  #spawn(worker: number, delayMs: number): Promise<void> {
    const data = this.#data[worker]
    if (data === undefined) throw new MeshError('agent.worker', `there is no worker ${worker}`)
    const thread = new Worker(new URL(workerFile(), import.meta.url), {
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
    return new Promise((resolve, reject) => {
      this.#waiting.set(`${worker} ready`, {
        worker,
        settle: (error) =>
          error === undefined && cause === undefined ? resolve() : reject(error ?? cause),
      })
    })
  }

  #receive(worker: number, message: FromWorker): void {
    if (message.kind === 'log') {
      this.#parts.log[message.level](message.event, { worker, ...message.fields })
      return
    }
    const key = `${worker} ${answerOf(message)}`
    const waiting = this.#waiting.get(key)
    this.#waiting.delete(key)
    waiting?.settle()
  }

  async #died(
    worker: number,
    thread: Worker,
    end: { code: number; cause: unknown; startedMs: number; delayMs: number },
  ): Promise<void> {
    this.#serving.delete(worker)
    if (this.#threads[worker] === thread) this.#threads[worker] = undefined
    for (const [key, waiting] of this.#waiting) {
      if (waiting.worker !== worker) continue
      this.#waiting.delete(key)
      waiting.settle()
    }
    if (this.#stopping) return
    this.#parts.log.error('worker.died', { worker, code: end.code, error: stackOf(end.cause) })
    await this.#parts.onDeath(worker)
    const stable = performance.now() - end.startedMs > STABLE_MS
    const delayMs = stable ? RESTART_DELAY_MS : Math.min(end.delayMs * 2, RESTART_DELAY_MAX_MS)
    await new Promise((resolve) => setTimeout(resolve, stable ? 0 : end.delayMs))
    if (this.#stopping) return
    try {
      await this.#spawn(worker, delayMs)
      await this.#parts.onReplaced(worker, () => this.#serving.add(worker))
      this.#parts.log.info('worker.replaced', { worker })
    } catch (error) {
      // Its own exit event tries again, later.
      this.#parts.log.error('worker.replace-failed', { worker, error: stackOf(error) })
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
