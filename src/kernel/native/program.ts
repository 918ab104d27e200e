// BPF programs and links over the addon.
import { checkFd, checkInteger, checkNamespace, checkPath } from '../checks.ts'
import { attempt, kernelError, settled } from '../errno.ts'
import type { TestRunResult } from '../kernel.ts'
import { type BpfLink, type BpfProgram, KernelError, type LinkInfo } from '../kernel.ts'
import type { Addon, RawProgram } from './addon.ts'

/** enum bpf_attach_type by enum bpf_prog_type, for programs from a pin: the kernel does not tell
 * the attach type of a program but refuses every other. */
const ATTACH_TYPES: ReadonlyMap<number, readonly number[]> = new Map([
  [8, [0, 1]],
  [9, [2]],
  [13, [3]],
  [18, [10, 11, 14, 15, 19, 20, 8, 9, 29, 30, 31, 32]],
  [25, [21, 22]],
  [30, [36]],
])

/** enum bpf_link_type. */
const LINK_TYPES: ReadonlyMap<number, LinkInfo['type']> = new Map([
  [3, 'cgroup'],
  [4, 'iter'],
  [5, 'netns'],
  [11, 'tcx'],
])

export class NativeLink implements BpfLink {
  readonly #addon: Addon
  readonly #fd: number
  #closed = false

  constructor(addon: Addon, fd: number) {
    this.#addon = addon
    this.#fd = fd
  }

  get fd(): number {
    if (this.#closed) throw kernelError('use link', 'EBADF')
    return this.#fd
  }

  info(): LinkInfo {
    const { type, id, programId, target } = attempt(() => this.#addon.linkInfo(this.fd))
    const head = { id, programId, type: LINK_TYPES.get(type) ?? ('other' as const) }
    if (head.type === 'cgroup') return { ...head, cgroupId: target }
    // The target shares its 8 bytes with the attach type.
    const number = Number(target & 0xffffffffn)
    if (head.type === 'netns') return { ...head, netnsInode: number }
    return head.type === 'tcx' ? { ...head, ifindex: number } : head
  }

  update(program: BpfProgram): void {
    attempt(() => this.#addon.linkUpdate(this.fd, program.fd), program.name)
  }

  pin(path: string): void {
    attempt(() => this.#addon.pin(this.fd, checkPath('pin link', path)))
  }

  detach(): void {
    attempt(() => this.#addon.linkDetach(this.fd))
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#addon.closeOwned(this.#fd)
  }
}

export class NativeProgram implements BpfProgram {
  readonly name: string
  readonly id: number
  readonly verifiedInstructions: number
  readonly #addon: Addon
  readonly #raw: RawProgram
  #closed = false

  constructor(addon: Addon, raw: RawProgram) {
    this.#addon = addon
    this.#raw = raw
    this.name = raw.name
    this.id = raw.id
    this.verifiedInstructions = raw.verifiedInstructions
  }

  get fd(): number {
    if (this.#closed) throw kernelError(`use program ${this.name}`, 'EBADF')
    return this.#raw.fd
  }

  attachCgroup(cgroupPath: string): BpfLink {
    checkPath(`attach ${this.name}`, cgroupPath)
    const { attachType, type } = this.#raw
    const candidates = attachType >= 0 ? [attachType] : (ATTACH_TYPES.get(type) ?? [-1])
    let refused: unknown
    for (const candidate of candidates) {
      try {
        return this.#link(() => this.#addon.attachCgroup(this.fd, cgroupPath, candidate))
      } catch (error) {
        refused = error
        if (!(error instanceof KernelError && error.errnoName === 'EINVAL')) throw error
      }
    }
    throw refused
  }

  attachNetns(namespaceFd: number): BpfLink {
    checkFd(`attach ${this.name}`, namespaceFd)
    return this.#link(() => this.#addon.attachNetns(this.fd, namespaceFd))
  }

  async attachTcx(
    direction: 'ingress' | 'egress',
    ifindex: number,
    namespaceFd?: number,
  ): Promise<BpfLink> {
    checkInteger(`attach ${this.name}: ifindex`, ifindex, 1, 0x7fffffff)
    const egress = direction === 'egress'
    const fd = await settled<number>(
      (done) => this.#addon.attachTcx(this.fd, egress, ifindex, checkNamespace(namespaceFd), done),
      this.name,
    )
    return new NativeLink(this.#addon, fd)
  }

  attachIter(): BpfLink {
    return this.#link(() => this.#addon.attachIter(this.fd))
  }

  testRun(input: {
    readonly data?: Uint8Array
    readonly context?: Uint8Array
    readonly repeat?: number
  }): TestRunResult {
    const repeat = checkInteger(`test run ${this.name}`, input.repeat ?? 1, 1, 0x7fffffff)
    return attempt(
      () => this.#addon.programTestRun(this.fd, input.data, input.context, repeat),
      this.name,
    )
  }

  pin(path: string): void {
    attempt(() => this.#addon.pin(this.fd, checkPath(`pin ${this.name}`, path)))
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#addon.closeOwned(this.#raw.fd)
  }

  #link(attach: () => number): BpfLink {
    return new NativeLink(this.#addon, attempt(attach, this.name))
  }
}
