// cgroup v2 directories of the lab, in the unified and in the hybrid layout.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const UNIFIED = '/sys/fs/cgroup'
const HYBRID = '/sys/fs/cgroup/unified'
const KILL_WAIT_MS = 5_000

/** Every mount point of cgroup v2, the layout's own place first. */
export function cgroup2Mounts(mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')): string[] {
  const points: string[] = []
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ')
    if (after.startsWith('cgroup2 ')) points.push(before.split(' ')[4] ?? '')
  }
  const rank = (point: string) => [UNIFIED, HYBRID].indexOf(point)
  return points.sort((a, b) => (rank(a) + 1 || 9) - (rank(b) + 1 || 9))
}

/** Where cgroup v2 is: /sys/fs/cgroup, or /sys/fs/cgroup/unified beside version 1. */
export function cgroup2Root(): string {
  const [root] = cgroup2Mounts()
  if (root === undefined) throw new Error('no cgroup v2 is mounted: run `npm run setup`')
  return root
}

export function cgroupLayout(root = cgroup2Root()): 'unified' | 'hybrid' | 'elsewhere' {
  if (root === UNIFIED) return 'unified'
  return root === HYBRID ? 'hybrid' : 'elsewhere'
}

export function makeCgroup(path: string): string {
  mkdirSync(path, { recursive: true })
  return path
}

/** Processes in the cgroup and below it. */
export function cgroupPids(path: string): number[] {
  if (!existsSync(path)) return []
  const own = readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean)
  return [...own.map(Number), ...children(path).flatMap((child) => cgroupPids(child))]
}

/** Kills every process below `path` and waits until they are gone. Blocks; for clean-up. */
export function killCgroup(path: string): void {
  if (!existsSync(path)) return
  const kill = join(path, 'cgroup.kill')
  if (existsSync(kill)) writeFileSync(kill, '1')
  const deadlineMs = performance.now() + KILL_WAIT_MS
  while (cgroupPids(path).length > 0 && performance.now() < deadlineMs) {
    for (const pid of cgroupPids(path)) killProcess(pid)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
  }
}

/** Removes the directory and everything below it; processes must be gone. */
export function removeCgroup(path: string): void {
  if (!existsSync(path)) return
  for (const child of children(path)) removeCgroup(child)
  try {
    rmdirSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

export function killProcess(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function children(path: string): string[] {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(path, entry.name))
}
