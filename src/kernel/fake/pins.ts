// The fake bpffs: a pin is an empty real file, so that callers list and unlink pins as they would
// on the real one, in any directory.
import { closeSync, openSync, statSync } from 'node:fs'
import { attempt, kernelError } from '../errno.ts'
import type { FakeFile } from './fds.ts'

export class Pins {
  readonly #pinned = new Map<string, { readonly inode: bigint; readonly file: FakeFile }>()

  /** EEXIST, ENOENT (no directory). */
  add(path: string, file: FakeFile): void {
    attempt(() => closeSync(openSync(path, 'wx')))
    this.#pinned.set(path, { inode: statSync(path, { bigint: true }).ino, file })
  }

  /** undefined when nothing is there; a file that is no pin is EINVAL, as is another kind. */
  find(path: string, kind: FakeFile['kind']): FakeFile | undefined {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
    if (stat === undefined) return undefined
    const pin = this.#pinned.get(path)
    if (pin === undefined || pin.inode !== stat.ino || pin.file.kind !== kind) {
      throw kernelError(`bpf(BPF_OBJ_GET) ${path}`, 'EINVAL')
    }
    return pin.file
  }

  /** Whether some pin of it is still there. */
  holds(file: FakeFile): boolean {
    for (const [path, pin] of this.#pinned) {
      if (pin.file !== file) continue
      const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
      if (stat?.ino === pin.inode) return true
    }
    return false
  }

  get(path: string, kind: FakeFile['kind']): FakeFile {
    const file = this.find(path, kind)
    if (file === undefined) throw kernelError(`bpf(BPF_OBJ_GET) ${path}`, 'ENOENT')
    return file
  }
}
