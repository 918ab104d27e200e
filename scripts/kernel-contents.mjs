// What goes into the machine that `npm run test:kernel` boots, and how its words are read. Pure.

/** Which Debian kernel is meant. */
export const SERIES = '6.1'

const UP = 'weft-kernel: up '
const END = 'weft-kernel: end '

/**
 * The package with the kernel itself, from what `apt-cache depends` says of the one that always
 * names the newest; undefined when there is none of the series.
 */
export function versionedPackage(dependsText) {
  const names = [...dependsText.matchAll(/^ *Depends: (linux-image-(\S+))$/gm)]
  return names.find(([, , version]) => version.startsWith(`${SERIES}.`))?.[1]
}

/** Paths of the shared objects that `ldd` names, the loader included. */
export function sharedObjects(lddText) {
  const paths = lddText
    .split('\n')
    .map((line) => /(?:=> |^\s+)(\/\S+) \(0x/.exec(line)?.[1])
    .filter((path) => path !== undefined)
  return [...new Set(paths)]
}

/** Directories below node_modules that `roots` (names of packages) need, by the lock file. */
export function moduleClosure(lock, roots) {
  const found = new Set()
  const visit = (path) => {
    if (found.has(path)) return
    found.add(path)
    const { dependencies, optionalDependencies } = lock.packages[path]
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const next = resolveModule(lock, path, name)
      if (next !== undefined) visit(next)
    }
  }
  for (const name of roots) visit(`node_modules/${name}`)
  return [...found].sort()
}

/** As Node does: beside the package, then one level up after the other. */
function resolveModule(lock, from, name) {
  for (let base = from; ; base = base.replace(/(^|\/)node_modules\/[^/]*(\/[^/]+)?$/, '')) {
    const path = `${base === '' ? '' : `${base}/`}node_modules/${name}`
    if (lock.packages[path] !== undefined) return path
    if (base === '') return undefined
  }
}

/** The first program of the machine: mounts, runs the tests, says how they ended, and resets. */
export function initScript({ project, node, patience, files }) {
  return `#!/usr/bin/busybox sh
export PATH=/usr/sbin:/usr/bin HOME=/root TERM=dumb
export NODE_NO_WARNINGS=1 NODE_COMPILE_CACHE=/tmp/node WEFT_PATIENCE=${patience}
cd /
busybox mount -t proc none /proc
busybox mount -t sysfs none /sys
busybox mount -t devtmpfs none /dev
busybox mkdir -p /dev/shm /dev/pts /run /tmp
busybox mount -t tmpfs none /run
busybox mount -t cgroup2 none /sys/fs/cgroup
busybox mount -t bpf none /sys/fs/bpf
exec </dev/null >/dev/ttyS1 2>&1
busybox stty -F /dev/ttyS1 -opost
ip link set lo up
echo "${UP}$(busybox uname -r)"
cd ${project}
${node} scripts/test.mjs ${files.join(' ')}
echo "${END}$?"
busybox sleep 1
busybox reboot -f
`
}

/** Reads what the machine says, line by line. Lines that are not for us are the tests'. */
export function serialReader() {
  const state = { release: undefined, code: undefined, totals: undefined }
  return {
    state,
    /** The text to show, or undefined. */
    line(raw) {
      const text = raw.replace(/\r/g, '')
      if (text.startsWith(UP)) state.release = text.slice(UP.length)
      else if (text.startsWith(END)) state.code = Number(text.slice(END.length))
      else {
        if (/^\d+ passed, \d+ failed/.test(text)) state.totals = text
        return state.release === undefined ? undefined : text
      }
      return undefined
    },
  }
}

/** `failure` is undefined when every test passed; `totals` is the last line to print. */
export function verdict({ release, code, totals }) {
  const none = '0 passed, 1 failed'
  if (release === undefined) return { failure: 'the kernel did not come up', totals: none }
  if (code === undefined)
    return { failure: 'the machine stopped before its tests ended', totals: none }
  if (totals === undefined) return { failure: `the tests ended with ${code}`, totals: none }
  return { failure: code === 0 ? undefined : 'tests failed', totals }
}
