// What the machine must offer before an agent can start: a pure judgement over facts, and the
// reading of those facts. Each sentence names the lack and its remedy.
import { existsSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { release } from 'node:os'

export interface MachineFacts {
  readonly platform: string
  readonly uid: number
  /** `uname -r`. */
  readonly kernelRelease: string
  readonly hasBtf: boolean
  /** Mount point of cgroup v2; undefined when it is mounted nowhere. */
  readonly cgroup2: string | undefined
  /** Whether that mount shows the whole hierarchy, not a cgroup namespace's part of it. */
  readonly isCgroup2Whole: boolean
  readonly hasBpffs: boolean
}

const KERNEL_MIN = [6, 1] as const
const BPF_FS_MAGIC = 0xcafe4a11

/** The first reason why an agent cannot run here, or undefined. */
export function unmetNeed(facts: MachineFacts): string | undefined {
  if (facts.platform !== 'linux') {
    return `weft runs on Linux only, this is ${facts.platform}.`
  }
  if (facts.uid !== 0) {
    return 'weft needs root to load BPF programs: run it with sudo.'
  }
  const [major = 0, minor = 0] = facts.kernelRelease
    .split('.')
    .map((part) => Number.parseInt(part, 10))
  if (major < KERNEL_MIN[0] || (major === KERNEL_MIN[0] && minor < KERNEL_MIN[1])) {
    const minimum = KERNEL_MIN.join('.')
    return `weft needs Linux ${minimum} or later, this is ${facts.kernelRelease}: upgrade the kernel.`
  }
  if (!facts.hasBtf) {
    return 'weft needs BPF type information, but /sys/kernel/btf/vmlinux is absent: use a kernel built with CONFIG_DEBUG_INFO_BTF.'
  }
  if (facts.cgroup2 === undefined) {
    return 'weft needs cgroup v2, but it is not mounted: run `mount -t cgroup2 none /sys/fs/cgroup/unified`.'
  }
  if (!facts.isCgroup2Whole) {
    return `weft needs the whole cgroup hierarchy of the machine, but ${facts.cgroup2} shows only a part of it: start the container with --cgroupns=host.`
  }
  if (!facts.hasBpffs) {
    return 'weft needs the BPF file system, but it is not mounted: run `mount -t bpf bpf /sys/fs/bpf`.'
  }
  return undefined
}

export function machineFacts(bpffs = '/sys/fs/bpf'): MachineFacts {
  const cgroup2 = cgroup2Mount(readMounts())
  return {
    platform: process.platform,
    uid: process.getuid?.() ?? -1,
    kernelRelease: release(),
    hasBtf: existsSync('/sys/kernel/btf/vmlinux'),
    cgroup2,
    // BPF counts a cgroup's depth from the root of all, which has number 1.
    isCgroup2Whole: cgroup2 !== undefined && statSync(cgroup2).ino === 1,
    hasBpffs: isBpffs(bpffs),
  }
}

/** Mount point of the first cgroup2 file system in the text of /proc/self/mounts. */
export function cgroup2Mount(mounts: string): string | undefined {
  for (const line of mounts.split('\n')) {
    const [, point, type] = line.split(' ')
    if (type === 'cgroup2') return point
  }
  return undefined
}

function readMounts(): string {
  try {
    return readFileSync('/proc/self/mounts', 'utf8')
  } catch {
    return ''
  }
}

function isBpffs(path: string): boolean {
  try {
    return statfsSync(path).type === BPF_FS_MAGIC
  } catch {
    return false
  }
}
