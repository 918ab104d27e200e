// Fake programs and links: they attach, update and detach like real ones, and run what the test
// declared for them.
import { existsSync, statSync } from 'node:fs'
import { checkFd, checkInteger, checkPath } from '../checks.ts'
import { type ErrnoName, kernelError } from '../errno.ts'
import type { BpfLink, BpfProgram, LinkInfo, TestRunResult } from '../kernel.ts'
import type { FakeFile, FdTable } from './fds.ts'
import { FakeNamespace } from './network.ts'
import type { Pins } from './pins.ts'

export interface FakeProgramSpec {
  readonly name: string
  readonly attach: 'cgroup' | 'netns' | 'tcx' | 'iter'
  /** Which hook of its kind; links are updated only with programs of the same one. */
  readonly hook?: string
  readonly verifiedInstructions?: number
  /** The verifier refuses it. */
  readonly refused?: { readonly errno: ErrnoName; readonly log: string }
  readonly run?: (input: { data?: Uint8Array; context?: Uint8Array }) => Partial<TestRunResult>
  /** What an iterator writes, by cookie of the namespace. */
  readonly iterate?: (namespaceCookie: bigint) => Buffer
}

export interface ProgramParts {
  readonly fds: FdTable
  readonly pins: Pins
  /** Directories that stand for cgroups. */
  readonly cgroups: ReadonlySet<string>
  nextId(): number
  namespaceOf(fd: number | undefined): FakeNamespace
}

export class ProgramData implements FakeFile {
  readonly kind = 'program'
  readonly id: number
  readonly spec: FakeProgramSpec

  constructor(id: number, spec: FakeProgramSpec) {
    this.id = id
    this.spec = spec
  }

  release(): void {}
}

export class LinkData implements FakeFile {
  readonly kind = 'link'
  readonly id: number
  program: ProgramData
  detached = false
  readonly target: () => Partial<LinkInfo>

  constructor(id: number, program: ProgramData, target: () => Partial<LinkInfo>) {
    this.id = id
    this.program = program
    this.target = target
  }

  release(): void {}
}

export class FakeProgram implements BpfProgram {
  readonly name: string
  readonly id: number
  readonly verifiedInstructions: number
  readonly #data: ProgramData
  readonly #parts: ProgramParts
  readonly #fd: number
  #closed = false

  constructor(data: ProgramData, parts: ProgramParts) {
    this.#data = data
    this.#parts = parts
    this.#fd = parts.fds.open(data)
    this.name = data.spec.name
    this.id = data.id
    this.verifiedInstructions = data.spec.verifiedInstructions ?? 0
  }

  get fd(): number {
    if (this.#closed) throw kernelError(`use program ${this.name}`, 'EBADF')
    return this.#fd
  }

  attachCgroup(cgroupPath: string): BpfLink {
    checkPath(`attach ${this.name}`, cgroupPath)
    const operation = `bpf(BPF_LINK_CREATE) cgroup ${cgroupPath} ${this.name}`
    if (!existsSync(cgroupPath)) throw kernelError(`open ${cgroupPath} ${this.name}`, 'ENOENT')
    if (!this.#parts.cgroups.has(cgroupPath)) throw kernelError(operation, 'EBADF')
    const inode = statSync(cgroupPath, { bigint: true }).ino
    return this.#attach('cgroup', operation, () => ({
      cgroupId: existsSync(cgroupPath) ? inode : 0n,
    }))
  }

  attachNetns(namespaceFd: number): BpfLink {
    checkFd(`attach ${this.name}`, namespaceFd)
    const operation = `bpf(BPF_LINK_CREATE) netns ${this.name}`
    const file = this.#parts.fds.get(operation, namespaceFd)
    if (!(file instanceof FakeNamespace)) throw kernelError(operation, 'EINVAL')
    return this.#attach('netns', operation, () => ({ netnsInode: file.inode }))
  }

  async attachTcx(
    _direction: 'ingress' | 'egress',
    ifindex: number,
    namespaceFd?: number,
  ): Promise<BpfLink> {
    checkInteger(`attach ${this.name}: ifindex`, ifindex, 1, 0x7fffffff)
    const operation = `bpf(BPF_LINK_CREATE) tcx ifindex ${ifindex} ${this.name}`
    const { devices } = this.#parts.namespaceOf(namespaceFd)
    if (ifindex > devices.length) throw kernelError(operation, 'ENODEV')
    return this.#attach('tcx', operation, () => ({ ifindex }))
  }

  attachIter(): BpfLink {
    return this.#attach('iter', `bpf(BPF_LINK_CREATE) iter ${this.name}`, () => ({}))
  }

  testRun(input: {
    readonly data?: Uint8Array
    readonly context?: Uint8Array
    readonly repeat?: number
  }): TestRunResult {
    checkInteger(`test run ${this.name}`, input.repeat ?? 1, 1, 0x7fffffff)
    const { run } = this.#data.spec
    if (run === undefined) {
      throw kernelError(`bpf(BPF_PROG_TEST_RUN) ${this.name}`, 'ENOTSUPP')
    }
    const empty = Buffer.alloc(0)
    const dataOut = Buffer.from(input.data ?? empty)
    const contextOut = Buffer.from(input.context ?? empty)
    return { returnValue: 0, dataOut, contextOut, durationNs: 0, ...run(input) }
  }

  pin(path: string): void {
    this.#parts.pins.add(checkPath(`pin ${this.name}`, path), this.#data)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#parts.fds.close(this.#fd)
  }

  #attach(
    attach: FakeProgramSpec['attach'],
    operation: string,
    target: () => Partial<LinkInfo>,
  ): BpfLink {
    if (this.#closed) throw kernelError(operation, 'EBADF')
    if (this.#data.spec.attach !== attach) throw kernelError(operation, 'EINVAL')
    return new FakeLink(new LinkData(this.#parts.nextId(), this.#data, target), this.#parts)
  }
}

export class FakeLink implements BpfLink {
  readonly #data: LinkData
  readonly #parts: ProgramParts
  readonly #fd: number
  #closed = false

  constructor(data: LinkData, parts: ProgramParts) {
    this.#data = data
    this.#parts = parts
    this.#fd = parts.fds.open(data)
  }

  get fd(): number {
    if (this.#closed) throw kernelError('use link', 'EBADF')
    return this.#fd
  }

  info(): LinkInfo {
    this.#open('info')
    const { id, program, detached } = this.#data
    const head = { id, programId: program.id, type: program.spec.attach }
    const target = this.#data.target()
    if (!detached) return { ...head, ...target }
    if (head.type === 'cgroup') return { ...head, cgroupId: 0n }
    if (head.type === 'netns') return { ...head, netnsInode: 0 }
    return head.type === 'tcx' ? { ...head, ifindex: 0 } : head
  }

  update(program: BpfProgram): void {
    const operation = `bpf(BPF_LINK_UPDATE) ${program.name}`
    this.#open(operation)
    const next = this.#parts.fds.get(operation, program.fd)
    if (!(next instanceof ProgramData)) throw kernelError(operation, 'EINVAL')
    if (this.#data.detached) throw kernelError(operation, 'ENOLINK')
    const { attach, hook } = this.#data.program.spec
    if (next.spec.attach !== attach || next.spec.hook !== hook) {
      throw kernelError(operation, 'EINVAL')
    }
    this.#data.program = next
  }

  pin(path: string): void {
    this.#open('pin')
    this.#parts.pins.add(checkPath('pin link', path), this.#data)
  }

  detach(): void {
    this.#open('bpf(BPF_LINK_DETACH)')
    if (this.#data.program.spec.attach === 'iter') {
      throw kernelError('bpf(BPF_LINK_DETACH)', 'EOPNOTSUPP')
    }
    this.#data.detached = true
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#parts.fds.close(this.#fd)
  }

  #open(operation: string): void {
    if (this.#closed) throw kernelError(`${operation} link`, 'EBADF')
  }
}
