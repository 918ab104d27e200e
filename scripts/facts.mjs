// Gathers the facts that scripts/checks.mjs judges, and makes the two mounts that may be missing.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { release } from 'node:os'

const BPFFS = '/sys/fs/bpf'
const CGROUP = '/sys/fs/cgroup'
const CGROUP_HYBRID = '/sys/fs/cgroup/unified'

/** Facts that need neither root nor a changed machine. */
export function machineFacts(command) {
  return {
    command,
    platform: process.platform,
    arch: process.arch,
    uid: process.geteuid?.() ?? -1,
    kernelRelease: release(),
    btf: existsSync('/sys/kernel/btf/vmlinux'),
  }
}

/** Facts about mounts and bpf(2). Mounts cgroup v2 and the BPF file system where absent. */
export function kernelFacts() {
  let cgroup2 = cgroup2Mount()
  let cgroup2Error = ''
  if (cgroup2 === null) {
    cgroup2Error = mountCgroup2()
    cgroup2 = cgroup2Mount()
  }
  let bpffsError = ''
  if (!isMounted('bpf', BPFFS)) bpffsError = mount('bpf', BPFFS)
  return {
    cgroup2,
    cgroup2Error,
    // The root of the whole hierarchy has number 1; that of a cgroup namespace has another.
    cgroup2Whole: cgroup2 !== null && statSync(cgroup2).ino === 1,
    bpffs: isMounted('bpf', BPFFS),
    bpffsError,
    bpfError: bpfError(),
  }
}

/** Mount point of the cgroup v2 hierarchy: the unified root first, then the hybrid place. */
export function cgroup2Mount(mountinfo = readMountinfo()) {
  const points = mountPoints(mountinfo, 'cgroup2')
  for (const wanted of [CGROUP, CGROUP_HYBRID]) if (points.includes(wanted)) return wanted
  return points[0] ?? null
}

/** Mount points of one file system type, from the text of /proc/self/mountinfo. */
export function mountPoints(mountinfo, type) {
  const points = []
  for (const line of mountinfo.split('\n')) {
    const [before, after] = line.split(' - ')
    if (after?.split(' ')[0] === type) points.push(before.split(' ')[4])
  }
  return points
}

function isMounted(type, path) {
  return mountPoints(readMountinfo(), type).includes(path)
}

function readMountinfo() {
  return readFileSync('/proc/self/mountinfo', 'utf8')
}

function mountCgroup2() {
  if (!readFileSync('/proc/filesystems', 'utf8').includes('cgroup2')) {
    return 'the kernel has no cgroup2'
  }
  // A v1 host keeps a tmpfs on /sys/fs/cgroup; systemd's hybrid layout has v2 below it.
  const isTmpfs = mountPoints(readMountinfo(), 'tmpfs').includes(CGROUP)
  return mount('cgroup2', isTmpfs ? CGROUP_HYBRID : CGROUP)
}

/** '' or what went wrong. */
function mount(type, path) {
  try {
    if (!existsSync(path)) mkdirSync(path)
    if (!statSync(path).isDirectory()) return `${path} is not a directory`
  } catch (error) {
    return error.message
  }
  const result = spawnSync('mount', ['-t', type, type === 'bpf' ? 'bpf' : 'none', path])
  if (result.error !== undefined) return result.error.message
  // Its first line says why; the next ones tell about dmesg.
  return result.status === 0
    ? ''
    : String(result.stderr).trim().split('\n', 1)[0].replace(/\.$/, '')
}

const BPF_PROBE = `
import ctypes, os, platform, struct, sys
number = {'x86_64': 321, 'aarch64': 280}[platform.machine()]
attr = ctypes.create_string_buffer(struct.pack('IIII', 2, 4, 4, 1), 128)
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.syscall(number, 0, attr, 128)
if fd < 0:
    import errno
    sys.stdout.write(errno.errorcode.get(ctypes.get_errno(), str(ctypes.get_errno())))
`

/** Makes one array map: '' if the kernel lets us, otherwise the error's name. */
function bpfError() {
  const result = spawnSync('python3', ['-c', BPF_PROBE], { encoding: 'utf8' })
  if (result.error !== undefined || result.status !== 0) {
    return `nothing, for python3 could not ask (${result.error?.message ?? result.stderr.trim()})`
  }
  return result.stdout
}
