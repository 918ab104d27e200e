// System packages of Debian and Ubuntu: finds what is missing and installs only that. On another
// distribution it names the commands that are missing.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Each row lists alternatives, the first that the distribution has is taken; `command` is what
 * another distribution must provide ('' for header-only packages).
 */
const NEEDED = [
  { packages: [['clang']], command: 'clang' },
  { packages: [['llvm']], command: 'llvm-strip' },
  { packages: [['libbpf-dev']], command: '' },
  { packages: [['libelf-dev']], command: '' },
  { packages: [['zlib1g-dev']], command: '' },
  { packages: [['bpftool'], ['linux-tools-common', 'linux-tools-generic']], command: 'bpftool' },
  { packages: [['g++']], command: 'g++' },
  { packages: [['make']], command: 'make' },
  { packages: [['cmake']], command: 'cmake' },
  { packages: [['python3']], command: 'python3' },
  { packages: [['iproute2']], command: 'ip' },
  { packages: [['util-linux']], command: 'nsenter' },
  { packages: [['procps']], command: 'sysctl' },
  { packages: [['ethtool']], command: 'ethtool' },
  { packages: [['nftables']], command: 'nft' },
  { packages: [['netcat-openbsd']], command: 'nc' },
  { packages: [['tcpdump']], command: 'tcpdump' },
  { packages: [['nginx-light'], ['nginx']], command: 'nginx' },
  { packages: [['socat']], command: 'socat' },
  { packages: [['curl']], command: 'curl' },
  { packages: [['openssl']], command: 'openssl' },
  { packages: [['iputils-ping']], command: 'ping' },
  { packages: [['nghttp2-client']], command: 'nghttp' },
  { packages: [['dnsmasq-base']], command: 'dnsmasq' },
  { packages: [['bind9-dnsutils']], command: 'dig' },
  // Docker's own package brings a runc, and would be removed for the sake of the distribution's.
  { packages: [['runc'], ['containerd.io']], command: 'runc' },
  { packages: [['crun']], command: 'crun' },
  { packages: [['busybox-static']], command: 'busybox' },
  { packages: [['ruby']], command: 'ruby' },
]

/** What `npm run test:kernel` needs beside. */
export const KERNEL_LAB = [
  { packages: [['qemu-system-x86']], command: 'qemu-system-x86_64' },
  { packages: [['cpio']], command: 'cpio' },
]

const ATTEMPTS = 3
const POLICY = '/usr/sbin/policy-rc.d'
const POLICY_MARK = '# written by weft while it installs packages'

export function isDebianLike(osRelease = readOsRelease()) {
  const ids = /^ID(?:_LIKE)?=(.*)$/gm
  return [...osRelease.matchAll(ids)].some((m) => /\b(debian|ubuntu)\b/.test(m[1]))
}

/** Rows none of whose alternatives is installed. */
export function missingRows(isPackageInstalled, needed = NEEDED) {
  return needed.filter((row) => !row.packages.some((names) => names.every(isPackageInstalled)))
}

/** Commands that no directory of PATH has; for distributions we do not install on. */
export function missingCommands(path = process.env.PATH ?? '', needed = NEEDED) {
  const directories = systemDirectories(path)
  return needed
    .map((row) => row.command)
    .filter((name) => name !== '' && !directories.some((d) => existsSync(join(d, name))))
}

/** PATH without what npm puts first: a module brings another `nft`. */
export function systemDirectories(path = process.env.PATH ?? '') {
  const directories = path.split(':').filter((each) => !each.endsWith('/node_modules/.bin'))
  return [...directories, '/usr/sbin', '/sbin']
}

/**
 * Installs what is missing. Returns the names it installed; throws an Error with one sentence when
 * it cannot.
 */
export function installPackages(say, needed = NEEDED) {
  removeStalePolicy()
  if (!isDebianLike()) {
    const commands = missingCommands(undefined, needed)
    if (commands.length === 0) return []
    throw new Error(
      `weft installs packages on Debian and Ubuntu only: install ${commands.join(', ')} and the ` +
        'development files of libbpf, libelf and zlib, then try again.',
    )
  }
  const installed = installedPackages()
  const rows = missingRows((name) => installed.has(name), needed)
  if (rows.length === 0) return []
  return install(rows, say)
}

function install(rows, say) {
  const restorePolicy = forbidServiceStarts()
  let lastError = ''
  try {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      if (attempt > 1 || !hasPackageLists()) {
        say('reading the package lists')
        lastError = apt(['update'])
        if (lastError !== '') continue
      }
      const names = rows.flatMap((row) => available(row))
      say(`installing ${names.join(' ')}`)
      lastError = apt(['install', '-y', '--no-install-recommends', ...names])
      if (lastError === '') {
        disableNginx(names)
        return names
      }
    }
  } finally {
    restorePolicy()
  }
  throw new Error(
    `weft could not install system packages (${lastError}): check the network and ` +
      '`apt-get update`, then try again.',
  )
}

function available(row) {
  return row.packages.find((names) => names.every(hasCandidate)) ?? row.packages[0]
}

function hasCandidate(name) {
  const result = spawnSync('apt-cache', ['policy', name], { encoding: 'utf8' })
  return /Candidate: (?!\(none\))/.test(result.stdout ?? '')
}

function hasPackageLists() {
  try {
    return readdirSync('/var/lib/apt/lists').some((name) => /_Packages(\.\w+)?$/.test(name))
  } catch {
    return false
  }
}

/** '' or the last line apt said. */
function apt(args) {
  const result = spawnSync('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=120', ...args], {
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'l' },
    maxBuffer: 64 * 1024 * 1024,
  })
  if (result.error !== undefined) return result.error.message
  if (result.status === 0) return ''
  const lines = `${result.stderr}`.trim().split('\n')
  return lines.find((line) => line.startsWith('E:')) ?? lines.at(-1) ?? `status ${result.status}`
}

function installedPackages() {
  const format = '$' + '{db:Status-Abbrev} $' + '{Package}\n'
  const result = spawnSync('dpkg-query', ['-W', '-f', format], { encoding: 'utf8' })
  const names = (result.stdout ?? '').split('\n').filter((line) => line.startsWith('ii'))
  return new Set(names.map((line) => line.split(/\s+/)[1]))
}

/**
 * Keeps package scripts from starting services (nginx would take port 80 of this machine).
 * Returns the function that undoes it. A policy that someone else wrote is left alone.
 */
function forbidServiceStarts() {
  if (existsSync(POLICY) && !readFileSync(POLICY, 'utf8').includes(POLICY_MARK)) return () => {}
  writeFileSync(POLICY, `#!/bin/sh\n${POLICY_MARK}\nexit 101\n`, { mode: 0o755 })
  return () => rmSync(POLICY, { force: true })
}

/** What a killed run left behind would keep every later package from starting its service. */
function removeStalePolicy() {
  if (existsSync(POLICY) && readFileSync(POLICY, 'utf8').includes(POLICY_MARK)) rmSync(POLICY)
}

/** A reboot must not start the nginx we brought either. */
function disableNginx(names) {
  if (names.some((name) => name.startsWith('nginx')) && existsSync('/run/systemd/system')) {
    spawnSync('systemctl', ['disable', '--now', 'nginx'])
  }
}

/**
 * Ubuntu's /usr/sbin/bpftool is a wrapper that refuses kernels it has no tools for. Puts a working
 * one into `directory` (to be put before PATH); returns whether one was found.
 */
export function provideBpftool(directory) {
  if (works('bpftool')) return true
  for (const root of ['/usr/lib/linux-tools', '/usr/lib']) {
    if (!existsSync(root)) continue
    for (const entry of readdirSync(root).sort().reverse()) {
      const binary = join(root, entry, 'bpftool')
      if (!existsSync(binary) || !works(binary)) continue
      rmSync(join(directory, 'bpftool'), { force: true })
      symlinkSync(binary, join(directory, 'bpftool'))
      return true
    }
  }
  return false
}

function works(binary) {
  return spawnSync(binary, ['version']).status === 0
}

function readOsRelease() {
  try {
    return readFileSync('/etc/os-release', 'utf8')
  } catch {
    return ''
  }
}
