// Names what a lab owns, and finds and removes what labs left behind. Everything a lab makes
// carries its prefix, `wl<pid in base 36>-<number>`, so that a killed owner's things are found by
// whoever comes next. Synchronous, because it also runs in exit handlers.
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cgroup2Mounts, cgroupPids, killCgroup, killProcess, removeCgroup } from './cgroups.ts'
import { execSync } from './shell.ts'

const PREFIX = /^wl([0-9a-z]+)-(\d+)(?=$|-)/
const NETNS = '/run/netns'
const BPFFS = '/sys/fs/bpf'
/** State of the OCI runtimes: one directory per container. */
const CONTAINERS = ['/run/runc', '/run/crun']

/** One thing that is still there. */
export interface Leftover {
  readonly prefix: string
  readonly kind:
    | 'directory'
    | 'cgroup'
    | 'process'
    | 'pins'
    | 'namespace'
    | 'link'
    | 'mount'
    | 'container'
  readonly name: string
}

let count = 0

/** A new prefix, and the directory that says who owns it; it appears with its owner in it. */
export function claimPrefix(): string {
  const directory = mkdtempSync(join(tmpdir(), 'weft-lab-'))
  writeFileSync(join(directory, 'owner'), `${process.pid} ${startTime(process.pid)}`)
  for (;;) {
    const prefix = `wl${process.pid.toString(36)}-${count++}`
    try {
      renameSync(directory, labDirectory(prefix))
      return prefix
    } catch (error) {
      // A dead process with our number had one.
      if (!['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? ''))
        throw error
    }
  }
}

/** Where a lab keeps its files; removed last. */
export function labDirectory(prefix: string): string {
  return join(tmpdir(), prefix)
}

/** Everything that carries a lab's prefix, or only what `prefix` owns. */
export function findLeftovers(prefix?: string): Leftover[] {
  const found: Leftover[] = []
  const add = (kind: Leftover['kind'], name: string, path = name) => {
    const owner = PREFIX.exec(name)?.[0]
    if (owner !== undefined && (prefix === undefined || owner === prefix)) {
      found.push({ prefix: owner, kind, name: path })
    }
  }
  for (const root of cgroup2Mounts()) {
    if (root.startsWith(`${tmpdir()}/`)) add('mount', root.slice(tmpdir().length + 1), root)
    for (const name of list(root)) {
      for (const pid of PREFIX.test(name) ? cgroupPids(join(root, name)) : []) {
        add('process', name, String(pid))
      }
      add('cgroup', name, join(root, name))
    }
  }
  for (const name of list(BPFFS)) add('pins', name, join(BPFFS, name))
  for (const name of list(NETNS)) {
    add('namespace', name)
    if (!PREFIX.test(name)) continue
    const pids = execSync(['ip', 'netns', 'pids', name]).stdout.split('\n').filter(Boolean)
    for (const pid of pids) add('process', name, pid)
  }
  for (const state of CONTAINERS) {
    for (const name of list(state)) add('container', name, join(state, name))
  }
  for (const name of list('/sys/class/net')) add('link', name)
  for (const name of list(tmpdir())) add('directory', name, join(tmpdir(), name))
  return unique(found)
}

/** Removes what is found under `prefix`; what resists is found again by the next look. */
export function removeLeftovers(prefix: string): void {
  for (const root of cgroup2Mounts()) killCgroup(join(root, prefix))
  const found = findLeftovers(prefix)
  const of = (kind: Leftover['kind']) => found.filter((each) => each.kind === kind)
  for (const each of of('process')) killProcess(Number(each.name))
  for (const each of of('pins')) rmSync(each.name, { recursive: true, force: true })
  for (const each of of('namespace')) execSync(['ip', 'netns', 'del', each.name])
  // Their processes were in the lab's cgroup.
  for (const each of of('container')) rmSync(each.name, { recursive: true, force: true })
  for (const each of of('link')) execSync(['ip', 'link', 'del', each.name])
  for (const each of of('cgroup')) {
    killCgroup(each.name)
    try {
      removeCgroup(each.name)
    } catch {
      // Busy: the caller's check lists it.
    }
  }
  for (const each of of('mount')) execSync(['umount', each.name])
  for (const each of of('directory')) {
    // A mount that would not go must not be emptied through its mount point.
    if (cgroup2Mounts().some((point) => `${point}/`.startsWith(`${each.name}/`))) continue
    rmSync(each.name, { recursive: true, force: true })
  }
}

/** Removes everything whose owner is dead; returns the prefixes that were cleaned. */
export function removeLeftoversOfTheDead(): string[] {
  const prefixes = new Set(findLeftovers().map((each) => each.prefix))
  const dead = [...prefixes].filter((prefix) => !isOwnerAlive(prefix))
  for (const prefix of dead) removeLeftovers(prefix)
  return dead
}

/** Whether the process that claimed the prefix still runs; its number may belong to another now. */
export function isOwnerAlive(prefix: string): boolean {
  try {
    const owner = readFileSync(join(labDirectory(prefix), 'owner'), 'utf8')
    const [pid = '', started = ''] = owner.split(' ')
    return startTime(Number(pid)) === started
  } catch {
    // The directory goes last and comes first: without it, nobody is at work.
    return false
  }
}

/** Start time of a process in clock ticks since boot; '' when it is gone or a zombie. */
function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? '' : (fields[19] ?? '')
  } catch {
    return ''
  }
}

function list(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : []
}

function unique(found: readonly Leftover[]): Leftover[] {
  const byName = new Map(found.map((each) => [`${each.kind} ${each.name}`, each]))
  return [...byName.values()]
}
