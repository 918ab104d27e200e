// Time as a parameter: the system's clock, and one that tests move by hand.

export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Milliseconds since the Unix epoch. */
  nowMs(): number
  /** For short durations: milliseconds since some beginning, with fractions; never goes back. */
  elapsedMs(): number
  /** Runs `task` once after `delayMs`; never keeps the process alive by itself. */
  after(delayMs: number, task: () => void): Timer
}

/** `setTimeout` fires at once for longer delays than this; such timers are chained. */
const TIMEOUT_MAX_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  elapsedMs: () => performance.now(),
  after(delayMs, task) {
    let handle: NodeJS.Timeout
    const arm = (leftMs: number): void => {
      const stepMs = Math.min(leftMs, TIMEOUT_MAX_MS)
      handle = setTimeout(() => (leftMs > stepMs ? arm(leftMs - stepMs) : task()), stepMs)
      handle.unref()
    }
    arm(Math.max(0, delayMs))
    return { cancel: () => clearTimeout(handle) }
  },
}

export interface ManualClock extends Clock {
  /** Moves time forward and runs what became due, in order of due time. */
  advance(byMs: number): void
  readonly pending: number
}

export function manualClock(startMs = 0): ManualClock {
  let nowMs = startMs
  let sequence = 0
  const timers = new Map<number, { dueMs: number; task: () => void }>()
  const nextDue = (untilMs: number): number | undefined => {
    let best: number | undefined
    for (const [id, timer] of timers) {
      if (timer.dueMs > untilMs) continue
      const chosen = best === undefined ? undefined : timers.get(best)
      if (chosen === undefined || timer.dueMs < chosen.dueMs) best = id
    }
    return best
  }
  return {
    nowMs: () => nowMs,
    elapsedMs: () => nowMs,
    after(delayMs, task) {
      const id = ++sequence
      timers.set(id, { dueMs: nowMs + Math.max(0, delayMs), task })
      return { cancel: () => void timers.delete(id) }
    },
    advance(byMs) {
      const untilMs = nowMs + byMs
      for (let id = nextDue(untilMs); id !== undefined; id = nextDue(untilMs)) {
        const timer = timers.get(id)
        timers.delete(id)
        if (timer === undefined) continue
        nowMs = Math.max(nowMs, timer.dueMs)
        timer.task()
      }
      nowMs = untilMs
    },
    get pending() {
      return timers.size
    },
  }
}
