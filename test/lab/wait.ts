// Waiting in tests: for a condition, never for a time.

export interface WaitOptions {
  readonly timeoutMs?: number
  readonly everyMs?: number
}

/** How many times longer than here everything may take: an emulated machine is slow. */
export const PATIENCE = Number(process.env.WEFT_PATIENCE ?? 1)

/** A load that takes about as long there as `count` does here. */
export function load(count: number): number {
  return Math.ceil(count / PATIENCE)
}

const TIMEOUT_MS = 15_000
const EVERY_MS = 15

/**
 * Resolves with the first truthy value of `condition`. Rejects after `timeoutMs` with `what` and
 * the last error that the condition threw.
 */
export async function waitUntil<T>(
  condition: () => T | Promise<T>,
  what: string,
  options: WaitOptions = {},
): Promise<NonNullable<T>> {
  const timeoutMs = (options.timeoutMs ?? TIMEOUT_MS) * PATIENCE
  const deadlineMs = performance.now() + timeoutMs
  let lastError: unknown
  do {
    try {
      const value = await condition()
      if (value) return value
      lastError = undefined
    } catch (error) {
      lastError = error
    }
    await pause(options.everyMs ?? EVERY_MS)
  } while (performance.now() < deadlineMs)
  throw new Error(`waited ${timeoutMs} ms in vain for ${what}`, { cause: lastError })
}

/** `promise`, or a rejection that names `what` after `limitMs`. */
export async function within<T>(promise: Promise<T>, limitMs: number, what: string): Promise<T> {
  const timeoutMs = limitMs * PATIENCE
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`no ${what} within ${timeoutMs} ms`)), timeoutMs)
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
