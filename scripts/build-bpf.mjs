// Compiles every bpf/*.bpf.c into bpf/out/<family>.o. Needs clang and llvm-strip, no kernel headers
// and no BTF of this machine (the objects are relocated at load). Skips what is up to date.
// Plain JavaScript for any Node >= 20: it runs before the project's own Node is installed.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { arch } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const MULTIARCH = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }

const FLAGS = [
  '-O2',
  '-g',
  // Instruction set 3 (Linux 5.12): atomic operations that return a value.
  '-mcpu=v3',
  '-target',
  'bpf',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-Wno-unused-parameter',
  '-Wno-missing-field-initializers',
]

/** Builds what is older than its inputs; returns the names built. */
export function buildBpf(root, { force = false } = {}) {
  const source = join(root, 'bpf')
  const out = join(source, 'out')
  mkdirSync(out, { recursive: true })
  const newestInput = Math.max(
    statSync(fileURLToPath(import.meta.url)).mtimeMs,
    ...headers(source).map((path) => statSync(path).mtimeMs),
  )
  const built = []
  for (const file of readdirSync(source).filter((name) => name.endsWith('.bpf.c'))) {
    const family = file.slice(0, -'.bpf.c'.length)
    const from = join(source, file)
    const to = join(out, `${family}.o`)
    const inputMs = Math.max(newestInput, statSync(from).mtimeMs)
    if (!force && existsSync(to) && statSync(to).mtimeMs > inputMs) continue
    compile(from, to)
    built.push(family)
  }
  return built
}

function compile(from, to) {
  const partial = `${to}.${process.pid}`
  try {
    run('clang', [...FLAGS, ...includes(), '-c', from, '-o', partial])
    run('llvm-strip', ['-g', partial])
    renameSync(partial, to)
  } finally {
    rmSync(partial, { force: true })
  }
}

function run(tool, args) {
  const result = spawnSync(tool, args, { encoding: 'utf8' })
  if (result.error?.code === 'ENOENT') {
    throw new Error(`${tool} is not installed; run "npm run setup" (packages: clang, llvm)`)
  }
  if (result.status !== 0) throw new Error(`${tool} ${args.at(-1)} failed:\n${result.stderr}`)
}

/** linux/bpf.h includes asm/types.h, which Debian keeps per architecture. */
function includes() {
  const directory = `/usr/include/${MULTIARCH[arch()] ?? ''}`
  return existsSync(join(directory, 'asm')) ? ['-I', directory] : []
}

function headers(directory) {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) return entry.name === 'out' ? [] : headers(path)
    return entry.name.endsWith('.h') ? [path] : []
  })
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    const root = dirname(dirname(fileURLToPath(import.meta.url)))
    const built = buildBpf(root, { force: process.argv.includes('--force') })
    console.log(built.length === 0 ? 'bpf: up to date' : `bpf: built ${built.join(', ')}`)
  } catch (error) {
    console.error(`bpf: ${error instanceof Error ? error.message : error}`)
    process.exitCode = 1
  }
}
