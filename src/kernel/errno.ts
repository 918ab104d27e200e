// Names and numbers of errno, and the one way to make and convert KernelErrors.
import { constants } from 'node:os'
import { KernelError } from './kernel.ts'

/** What node:os does not list: ENOTSUPP is the kernel's own, never in errno.h. */
const OTHER_NUMBERS = { EHOSTDOWN: 112, ENOMEDIUM: 123, EUCLEAN: 117, ENOTSUPP: 524 } as const

const NUMBERS: ReadonlyMap<string, number> = new Map([
  ...Object.entries(constants.errno),
  ...Object.entries(OTHER_NUMBERS),
])

/** Second names of a number: the kernel itself knows only the first. */
const SYNONYMS: ReadonlySet<string> = new Set(['EWOULDBLOCK', 'ENOTSUP', 'EDEADLOCK'])

const NAMES: ReadonlyMap<number, string> = new Map(
  [...NUMBERS].filter(([name]) => !SYNONYMS.has(name)).map(([name, number]) => [number, name]),
)

/** `errno 4095` for a number without a name. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`
}

export type ErrnoName = keyof typeof constants.errno | keyof typeof OTHER_NUMBERS

export function kernelError(operation: string, name: ErrnoName): KernelError {
  const errno = NUMBERS.get(name) ?? 0
  return new KernelError(operation, errno, errnoName(errno))
}

/** The KernelError for what the addon or node:net threw; anything else comes back unchanged.
 * `object` is added to the operation where the addon does not know its name. */
export function toKernelError(thrown: unknown, object?: string): unknown {
  if (thrown instanceof KernelError || !(thrown instanceof Error)) return thrown
  const { errno, log, operation: attempted } = thrown as AddonError
  if (typeof errno !== 'number' || errno === 0) return thrown
  const number = Math.abs(errno)
  const named = attempted ?? thrown.message
  const operation = object === undefined ? named : `${named} ${object}`
  return new KernelError(operation, number, errnoName(number), log, { cause: thrown })
}

/** Runs what may throw an error that `toKernelError` understands. */
export function attempt<T>(run: () => T, object?: string): T {
  try {
    return run()
  } catch (error) {
    throw toKernelError(error, object)
  }
}

/** A promise for what `start` will tell its callback; `start` may also throw at once. */
export function settled<T>(
  start: (done: (error: Error | undefined, value: T) => void) => void,
  object?: string,
): Promise<T> {
  return attemptAsync(
    () =>
      new Promise((resolve, reject) => {
        start((error, value) => (error === undefined ? resolve(value) : reject(error)))
      }),
    object,
  )
}

/** As `attempt`, for a promise; `start` may also throw at once. */
export async function attemptAsync<T>(start: () => Promise<T>, object?: string): Promise<T> {
  try {
    return await start()
  } catch (error) {
    throw toKernelError(error, object)
  }
}

interface AddonError extends Error {
  readonly errno?: number
  readonly operation?: string
  readonly log?: string
}
