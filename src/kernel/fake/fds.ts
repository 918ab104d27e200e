// The fake kernel's descriptor table. Numbers start where no real descriptor of a process is, so
// that one handed to the real kernel by mistake fails there.
import { kernelError } from '../errno.ts'

/** What a descriptor stands for; shared by duplicates. */
export interface FakeFile {
  readonly kind: 'map' | 'program' | 'link' | 'namespace' | 'socket' | 'listener' | 'udp' | 'unix'
  /** The last descriptor was closed. */
  release(): void
}

const FIRST_FD = 1_000_000

export class FdTable {
  readonly #files = new Map<number, FakeFile>()
  readonly #references = new Map<FakeFile, number>()
  #next = FIRST_FD

  open(file: FakeFile): number {
    const fd = this.#next++
    this.#files.set(fd, file)
    this.#references.set(file, (this.#references.get(file) ?? 0) + 1)
    return fd
  }

  find(fd: number): FakeFile | undefined {
    return this.#files.get(fd)
  }

  get(operation: string, fd: number): FakeFile {
    const file = this.#files.get(fd)
    if (file === undefined) throw kernelError(operation, 'EBADF')
    return file
  }

  isOpen(file: FakeFile): boolean {
    return this.#references.has(file)
  }

  duplicate(fd: number): number {
    return this.open(this.get('dup', fd))
  }

  close(fd: number): void {
    const file = this.get('close', fd)
    this.#files.delete(fd)
    const left = (this.#references.get(file) ?? 1) - 1
    if (left > 0) {
      this.#references.set(file, left)
      return
    }
    this.#references.delete(file)
    file.release()
  }

  /** Descriptors open now, for leak tests. */
  get count(): number {
    return this.#files.size
  }
}
