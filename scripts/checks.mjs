// What a machine must have to run Weft, decided from facts: a list of sentences, each saying what
// is wrong and the remedy. Pure, so that it is tested without such machines.

export const KERNEL_MINIMUM = [6, 1]

/**
 * @typedef {object} Facts
 * @property {string} command what the user typed, e.g. `npm start`
 * @property {string} platform
 * @property {string} arch
 * @property {number} uid effective user
 * @property {string} kernelRelease e.g. `6.1.0-18-amd64`
 * @property {boolean} btf whether /sys/kernel/btf/vmlinux exists
 * @property {string | null} cgroup2 mount point of cgroup v2, if any
 * @property {string} cgroup2Error why it could not be mounted, '' if unknown
 * @property {boolean} cgroup2Whole whether that mount shows the whole hierarchy of the machine
 * @property {boolean} bpffs whether a BPF file system is mounted on /sys/fs/bpf
 * @property {string} bpffsError why it could not be mounted, '' if unknown
 * @property {string} bpfError what bpf(2) answered, '' if it works
 */

/**
 * Everything that stands in the way, most basic first: later sentences often follow from earlier
 * ones, so a caller shows the first.
 * @param {Facts} facts
 * @returns {string[]}
 */
export function problems(facts) {
  return [...machineProblems(facts), ...kernelProblems(facts)]
}

/** The part that can be judged before anything is installed or mounted. */
export function machineProblems(facts) {
  const found = []
  if (facts.platform !== 'linux') {
    return [`weft runs on Linux only, and this is ${facts.platform}: use a Linux host or VM.`]
  }
  if (facts.arch !== 'x64' && facts.arch !== 'arm64') {
    found.push(`weft runs on x64 and arm64, and this is ${facts.arch}: use another machine.`)
  }
  if (facts.uid !== 0) {
    found.push(`weft needs root to load BPF programs: run \`sudo ${facts.command}\`.`)
  }
  if (!isKernelNewEnough(facts.kernelRelease)) {
    found.push(
      `weft needs Linux ${KERNEL_MINIMUM.join('.')} or newer, and this is ` +
        `${facts.kernelRelease}: boot a newer kernel (those of Debian 12 and Ubuntu 24.04 are).`,
    )
  }
  if (!facts.btf) {
    found.push(
      'weft needs the kernel to describe its types in /sys/kernel/btf/vmlinux: boot a kernel ' +
        "built with CONFIG_DEBUG_INFO_BTF=y (Debian's and Ubuntu's own kernels are).",
    )
  }
  return found
}

/** The part that needs root and the mounts. */
export function kernelProblems(facts) {
  const found = []
  if (facts.cgroup2 === null) {
    found.push(
      `weft needs cgroup v2, and no cgroup2 file system is mounted${because(facts.cgroup2Error)}: ` +
        'boot with systemd.unified_cgroup_hierarchy=1, or run ' +
        '`mount -t cgroup2 none /sys/fs/cgroup/unified` on a hybrid host.',
    )
  }
  if (facts.cgroup2 !== null && !facts.cgroup2Whole) {
    found.push(
      `weft needs the whole cgroup hierarchy of the machine, and ${facts.cgroup2} shows only a ` +
        'part of it: start the container with --cgroupns=host.',
    )
  }
  if (!facts.bpffs) {
    found.push(
      `weft pins its programs on a BPF file system, and none is mounted on /sys/fs/bpf` +
        `${because(facts.bpffsError)}: run \`mount -t bpf bpf /sys/fs/bpf\`.`,
    )
  }
  if (facts.bpfError !== '') {
    found.push(
      `weft cannot use BPF here, bpf(2) answers ${facts.bpfError}: run it on a host or VM whose ` +
        'kernel has CONFIG_BPF_SYSCALL, or in a container started with --privileged.',
    )
  }
  return found
}

/** Whether a release text such as `6.1.0-18-amd64` reaches the minimum; unreadable is too old. */
export function isKernelNewEnough(release) {
  const match = /^(\d+)\.(\d+)/.exec(release)
  if (match === null) return false
  const [major, minor] = [Number(match[1]), Number(match[2])]
  return major > KERNEL_MINIMUM[0] || (major === KERNEL_MINIMUM[0] && minor >= KERNEL_MINIMUM[1])
}

function because(error) {
  return error === '' ? '' : ` (mounting it failed: ${error})`
}
