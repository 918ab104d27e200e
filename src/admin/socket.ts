// The Unix socket of the admin API: only root may use it, one agent at a time serves it, and what
// a dead agent left is replaced. A path may be longer than the kernel's 107 bytes.
import {
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  unlinkSync,
} from 'node:fs'
import { connect } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { MeshError } from '../base/mesh-error.ts'

/** Its name in an agent's state directory. */
export const ADMIN_SOCKET = 'admin.sock'

/** sockaddr_un's path, without its end. */
const PATH_BYTES_MAX = 107
const ONLY_OWNER = 0o600

/** A socket that serves, under a name of its own until `publish`. */
export interface SocketPlace {
  /** Where to listen. */
  readonly draft: string
  /** Gives what listens there its name and mode, in one step. */
  publish(): void
  /** Takes the name away, if it still is this socket's. */
  remove(): void
}

/** Rejects with MeshError `admin.socket` when another agent answers at `path`, or something else
 * is there. */
export async function claimSocket(path: string): Promise<SocketPlace> {
  const there = lstatSync(path, { throwIfNoEntry: false })
  if (there !== undefined && !there.isSocket()) {
    throw new MeshError('admin.socket', `${path} is not a socket: remove it, or move it away`)
  }
  if (there !== undefined && (await answers(path))) {
    const remedy = 'stop it first, or give this one another --state'
    throw new MeshError('admin.socket', `another agent serves ${path}: ${remedy}`)
  }
  // Nobody but the owner can enter this directory while the socket has no mode yet.
  const directory = mkdtempSync(join(dirname(path), '.admin-'))
  const draft = shortened(join(directory, 's'))
  let inode: number | undefined
  return {
    draft: draft.path,
    publish() {
      const made = join(directory, 's')
      chmodSync(made, ONLY_OWNER)
      inode = lstatSync(made).ino
      renameSync(made, path)
      rmSync(directory, { recursive: true })
      draft.close()
    },
    remove() {
      if (inode === undefined) {
        rmSync(directory, { recursive: true, force: true })
        draft.close()
      } else if (lstatSync(path, { throwIfNoEntry: false })?.ino === inode) {
        unlinkSync(path)
      }
    },
  }
}

/** A path the kernel takes for the same socket; `close` when it is no longer needed. */
export function shortened(path: string): { readonly path: string; close(): void } {
  if (Buffer.byteLength(path) <= PATH_BYTES_MAX) return { path, close: () => {} }
  const directory = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY)
  let isOpen = true
  return {
    path: join('/proc/self/fd', String(directory), basename(path)),
    close() {
      if (isOpen) closeSync(directory)
      isOpen = false
    },
  }
}

function answers(path: string): Promise<boolean> {
  const short = shortened(path)
  return new Promise((resolve) => {
    const socket = connect(short.path)
    const settle = (answered: boolean): void => {
      socket.destroy()
      short.close()
      resolve(answered)
    }
    socket.once('connect', () => settle(true))
    // A listener whose queue is full is alive, however busy.
    socket.once('error', (error: NodeJS.ErrnoException) => settle(error.code === 'EAGAIN'))
  })
}
