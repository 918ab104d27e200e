// Starts the program of `weft run`: inside its namespace and cgroup, but not before the agent has
// brought it into the mesh, so that not even its first packet is outside.
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { MeshError } from '../../base/mesh-error.ts'
import { readPids } from '../../discovery/cgroup-watch.ts'

/** Joins the cgroup named first, waits for a line on descriptor 3, and becomes the program. */
const GATE = 'echo $$ > "$1/cgroup.procs" && shift && read -r _ <&3 && exec 3<&- && exec "$@"'

export interface Launched {
  readonly child: ChildProcess
  /** Lets the program start. */
  open(): void
  /** Exit code, 128 + signal when it was killed. */
  readonly ended: Promise<number>
}

/** Without a `networkNamespace` the program stays in that of this process. */
export function launch(
  networkNamespace: string | undefined,
  cgroup: string,
  command: readonly string[],
): Launched {
  mkdirSync(cgroup, { recursive: true })
  const gated = ['sh', '-c', GATE, 'weft-run', cgroup, ...command]
  const [program = '', ...args] =
    networkNamespace === undefined
      ? gated
      : ['nsenter', `--net=/run/netns/${networkNamespace}`, '--', ...gated]
  const child = spawn(program, args, { stdio: ['inherit', 'inherit', 'inherit', 'pipe'] })
  const gate = child.stdio[3] as Writable
  gate.on('error', () => {}) // the child may be gone; its exit tells
  const ended = new Promise<number>((resolve, reject) => {
    child.on('error', (error) =>
      reject(new MeshError('run.launch', `cannot start ${program}: ${error.message}`)),
    )
    child.on('exit', (code, signal) => resolve(code ?? 128 + signalNumber(signal)))
  })
  return { child, open: () => gate.end('\n'), ended }
}

/** Resolves true when the file appears, false when `ended` comes first or time is up. */
export async function markAppears(
  file: string,
  ended: Promise<unknown>,
  timeoutMs: number,
): Promise<boolean> {
  let over = false
  void ended.then(
    () => {
      over = true
    },
    () => {
      over = true
    },
  )
  for (let waitedMs = 0; waitedMs < timeoutMs && !over; waitedMs += 20) {
    if (existsSync(file)) return true
    await delay(20)
  }
  return existsSync(file)
}

export async function markVanishes(file: string, timeoutMs: number): Promise<void> {
  for (let waitedMs = 0; waitedMs < timeoutMs && existsSync(file); waitedMs += 20) await delay(20)
}

/** Ends every process of the cgroup and removes it. */
export async function emptyCgroup(cgroup: string): Promise<void> {
  if (!existsSync(cgroup)) return
  try {
    writeFileSync(join(cgroup, 'cgroup.kill'), '1')
  } catch {
    for (const pid of readPids(cgroup)) killQuietly(pid)
  }
  for (let attempt = 0; attempt < 100; attempt++) {
    try {
      rmdirSync(cgroup)
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      await delay(20)
    }
  }
  throw new MeshError('run.cgroup', `cannot remove ${cgroup}: processes in it do not end`)
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // ended meanwhile
  }
}

function signalNumber(signal: NodeJS.Signals | null): number {
  const numbers: Partial<Record<NodeJS.Signals, number>> = {
    SIGHUP: 1,
    SIGINT: 2,
    SIGKILL: 9,
    SIGTERM: 15,
  }
  return (signal === null ? undefined : numbers[signal]) ?? 15
}
