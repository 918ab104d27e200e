// What the compliance suite needs of a kernel under test, and its small helpers. Both kernels, the
// real one and the fake, run every test of this folder.
import type { Duplex } from 'node:stream'
import type { ExecutionContext } from 'ava'
import {
  type BpfObject,
  type Kernel,
  KernelError,
  type Namespace,
  type ObjectSpec,
} from '../kernel.ts'

export interface Rig {
  readonly kernel: Kernel
  /** test/kernel/bpf/sample.bpf.c and refused.bpf.c, compiled. */
  readonly sample: Uint8Array
  readonly refused: Uint8Array
  /** An empty directory where objects may be pinned. */
  readonly pins: string
  /** An empty directory for everything else. */
  readonly scratch: string
  readonly cgroup: string
  /** A namespace other than the process's own, with device `weft0` and the addresses below. */
  readonly namespace: string
  /** Whether devices take programs by links (Linux 6.6). */
  readonly hasTcx: boolean
  /** Swallows every SYN that comes from `namespace`. */
  readonly blackhole: string
  adopt(fd: number): Duplex
  /** Puts one record of two u32 (`length`, its double) into `sample_ring` of a loaded sample. */
  emit(object: BpfObject, length: number): void
  close(): Promise<void>
}

export const V4 = '10.77.0.2'
export const V6 = 'fd77::2'

/** Tests by name. */
export type Suite = Readonly<
  Record<string, (t: ExecutionContext, rig: Rig) => void | Promise<void>>
>

/** A number no process has open. */
export const NO_FD = 999_999_999

export function openNamespace(rig: Rig): Promise<Namespace> {
  return rig.kernel.openNamespace(rig.namespace)
}

export function u32(...numbers: number[]): Buffer {
  const bytes = Buffer.alloc(numbers.length * 4)
  for (const [at, number] of numbers.entries()) bytes.writeUInt32LE(number, at * 4)
  return bytes
}

export function load(rig: Rig, options: Partial<ObjectSpec> = {}): BpfObject {
  return rig.kernel.loadObject({ bytes: rig.sample, name: 'sample', ...options })
}

/** The map or program of that name, which must be there. */
export function member<T>(members: ReadonlyMap<string, T>, name: string): T {
  const found = members.get(name)
  if (found === undefined) throw new Error(`no ${name} among ${[...members.keys()].join(' ')}`)
  return found
}

export function throwsErrno(
  t: ExecutionContext,
  errnoName: string,
  run: () => unknown,
  operation?: RegExp,
): KernelError | undefined {
  const error = t.throws(run, { instanceOf: KernelError })
  checkError(t, error, errnoName, operation)
  return error
}

export async function rejectsErrno(
  t: ExecutionContext,
  errnoName: string,
  run: () => Promise<unknown>,
  operation?: RegExp,
): Promise<void> {
  const error = await t.throwsAsync(run, { instanceOf: KernelError })
  checkError(t, error, errnoName, operation)
}

function checkError(
  t: ExecutionContext,
  error: KernelError | undefined,
  errnoName: string,
  operation: RegExp | undefined,
): void {
  t.is(error?.errnoName, errnoName, error?.message)
  t.true((error?.errno ?? 0) > 0)
  if (operation !== undefined) t.regex(error?.operation ?? '', operation)
}

/** Resolves once `holds`, looking again each turn of the loop; the test's timeout is the limit. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1))
}

/** Collects what a callback is called with. */
export function collector<T>(): {
  readonly items: T[]
  readonly add: (item: T) => void
  next(): Promise<T>
} {
  const items: T[] = []
  return {
    items,
    add: (item) => void items.push(item),
    async next() {
      await until(() => items.length > 0)
      return items.shift() as T
    },
  }
}
