// Asks the workers who talks to whom, and puts their slices together. Who does not answer in time
// is left out, and said to be: a view must not wait for a worker that is busy.
import type { Clock } from '../base/clock.ts'
import type { SurveySlice } from '../model/flow.ts'
import type { Surveyed, WorkerPool } from './worker-pool.ts'

export interface Survey {
  readonly slices: readonly SurveySlice[]
  /** Workers whose part is missing. */
  readonly silent: readonly number[]
}

const SURVEY_TIMEOUT_MS = 1_000

export class Surveys {
  readonly #pool: () => Pick<WorkerPool, 'alive' | 'ask'>
  readonly #clock: Clock
  #sequence = 0
  readonly #running = new Map<number, Map<number, SurveySlice[]>>()

  constructor(pool: () => Pick<WorkerPool, 'alive' | 'ask'>, clock: Clock) {
    this.#pool = pool
    this.#clock = clock
  }

  /** Slices that come late, after their survey was given up, are dropped. */
  readonly received = (worker: number, { sequence, slice }: Surveyed): void => {
    const survey = this.#running.get(sequence)
    if (survey === undefined) return
    const slices = survey.get(worker)
    if (slices === undefined) survey.set(worker, [slice])
    else slices.push(slice)
  }

  async ask(connectionsMax: number): Promise<Survey> {
    const sequence = ++this.#sequence
    const pool = this.#pool()
    const workers = pool.alive()
    const byWorker = new Map<number, SurveySlice[]>()
    this.#running.set(sequence, byWorker)
    const message = { kind: 'survey', sequence, connectionsMax } as const
    const answered = Promise.all(
      workers.map((worker) => pool.ask(worker, message, `surveyed ${sequence}`)),
    )
    await this.#inTime(answered)
    this.#running.delete(sequence)
    const isWhole = (worker: number): boolean => byWorker.get(worker)?.at(-1)?.isLast ?? false
    return {
      slices: workers.filter(isWhole).flatMap((worker) => byWorker.get(worker) ?? []),
      silent: workers.filter((worker) => !isWhole(worker)),
    }
  }

  #inTime(answered: Promise<unknown>): Promise<void> {
    return new Promise((resolve) => {
      const late = this.#clock.after(SURVEY_TIMEOUT_MS, resolve)
      void answered.finally(() => {
        late.cancel()
        resolve()
      })
    })
  }
}
