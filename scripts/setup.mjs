// Makes a clone ready to run: checks the machine, installs system packages and npm modules, builds
// the addon and the BPF objects. Idempotent: a second run does only what changed. Any Node >= 20.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundledNodeDirectory, nodePackageName } from '../bin/find-node.mjs'
import { kernelProblems, machineProblems } from './checks.mjs'
import { kernelFacts, machineFacts } from './facts.mjs'
import { installPackages, provideBpftool, systemDirectories } from './packages.mjs'
import { hashInputs, isInstalled, isStamped, writeStamp } from './stamps.mjs'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))
const STATE = join(ROOT, '.weft')
const TOOLS = join(STATE, 'bin')

/** A set-up that cannot go on; the message is one sentence for the user. */
export class SetupError extends Error {}

/**
 * Prepares the clone. `goal` says how far: `modules` (npm modules and Node 26), `built` (and
 * addon and BPF objects, which need no root where the compilers are installed), `packages` (modules,
 * and a checked machine with its system packages), `all` (everything). Progress goes to stderr.
 */
export async function setup({ goal = 'all', command = 'npm run setup' } = {}) {
  // Before anything is written: without root, not even the clone may be ours.
  const needsMachine = goal === 'packages' || goal === 'all'
  if (needsMachine) throwFirst(machineProblems(machineFacts(command)))
  mkdirSync(TOOLS, { recursive: true })
  const unlock = await lock()
  try {
    if (needsMachine) prepareMachine()
    installModules()
    if (goal === 'built' || goal === 'all') {
      buildAddon()
      buildBpf()
    }
  } finally {
    unlock()
  }
}

/** Environment for everything that runs after set-up: `node` is Node 26, tools are found. */
export function toolEnvironment() {
  const nodeDirectory = join(requireNodeDirectory(), 'bin')
  return { ...process.env, PATH: [nodeDirectory, TOOLS, ...systemDirectories()].join(':') }
}

export function node26() {
  return join(requireNodeDirectory(), 'bin', 'node')
}

/** Builds the addon even if nothing changed. */
export function rebuildAddon() {
  say('building the addon')
  const gyp = join(ROOT, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js')
  // Relative: the compiler is given this path unquoted, and a clone may lie below spaces.
  const nodeDirectory = relative(ROOT, requireNodeDirectory())
  run(node26(), [gyp, 'rebuild', `--nodedir=${nodeDirectory}`], 'building the addon')
  writeStamp(STATE, 'addon', addonHash())
}

/** Builds the BPF objects even if nothing changed. */
export function rebuildBpf() {
  say('building the BPF objects')
  run(node26(), [join(ROOT, 'scripts', 'build-bpf.mjs')], 'building the BPF objects')
  writeStamp(STATE, 'bpf', bpfHash())
}

function prepareMachine() {
  try {
    installPackages(say)
  } catch (error) {
    throw new SetupError(error.message)
  }
  if (!provideBpftool(TOOLS)) {
    throw new SetupError(
      'weft needs bpftool, and none that works was found: install the package bpftool or ' +
        'linux-tools-generic.',
    )
  }
  throwFirst(kernelProblems(kernelFacts()))
}

function throwFirst(sentences) {
  if (sentences.length > 0) throw new SetupError(sentences[0])
}

function installModules() {
  const locked = readJson('package-lock.json')
  const installed = readJson(join('node_modules', '.package-lock.json'))
  if (isInstalled(locked, installed) && bundledNodeDirectory() !== undefined) return
  say('installing npm modules')
  const npm = process.env.npm_execpath
  // The modules run under the Node 26 that is among them, so this one's age is no reason to warn.
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error', '--no-engine-strict']
  const args = ['ci', '--include=dev', '--include=optional', ...quiet]
  const [file, before] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []]
  run(file, [...before, ...args], 'installing npm modules', process.env)
  requireNodeDirectory()
}

function buildAddon() {
  const output = join(ROOT, 'build', 'Release', 'weft.node')
  if (existsSync(output) && isStamped(STATE, 'addon', addonHash())) return
  rebuildAddon()
}

function addonHash() {
  const manifest = readJson(join('node_modules', 'node-addon-api', 'package.json'))
  const node = readJson(join('node_modules', nodePackageName(), 'package.json'))
  return hashInputs({
    texts: [process.arch, manifest?.version, node?.version],
    paths: [join(ROOT, 'binding.gyp'), join(ROOT, 'native')],
  })
}

function buildBpf() {
  if (hasObjects() && isStamped(STATE, 'bpf', bpfHash())) return
  rebuildBpf()
}

function hasObjects() {
  const output = join(ROOT, 'bpf', 'out')
  return existsSync(output) && readdirSync(output).some((name) => name.endsWith('.o'))
}

function bpfHash() {
  return hashInputs({
    texts: [process.arch],
    paths: [join(ROOT, 'bpf'), join(ROOT, 'scripts', 'build-bpf.mjs')],
    except: [join(ROOT, 'bpf', 'out')],
  })
}

function requireNodeDirectory() {
  const directory = bundledNodeDirectory()
  if (directory !== undefined) return directory
  throw new SetupError(
    `weft needs the npm package ${nodePackageName()}, which carries Node 26, and it is not ` +
      'installed: run `npm ci --include=optional`.',
  )
}

/** Runs a step quietly; what it said is shown only when it fails. */
function run(file, args, what, env = toolEnvironment()) {
  const result = spawnSync(file, args, {
    cwd: ROOT,
    env,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  if (result.status === 0) return
  const said = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim()
  if (said !== '') process.stderr.write(`${said}\n`)
  const why = result.error?.message ?? `it ended with ${result.signal ?? result.status}`
  throw new SetupError(`weft: ${what} failed (${why}); its output is above.`)
}

/** Waits for another set-up of this clone; a lock whose owner is dead is taken over. */
async function lock() {
  const file = join(STATE, 'setup.lock')
  for (let waited = false; ; waited = true) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' })
      return () => rmSync(file, { force: true })
    } catch (error) {
      if (error.code !== 'EEXIST') throw new SetupError(`weft cannot write ${file}: ${error.code}.`)
    }
    if (!isAlive(Number(readOr(file, '0')))) rmSync(file, { force: true })
    else if (!waited) say('waiting for another set-up of this clone')
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

function isAlive(pid) {
  return pid > 0 && existsSync(`/proc/${pid}`)
}

function readOr(file, otherwise) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return otherwise
  }
}

function readJson(path) {
  const text = readOr(join(ROOT, path), '')
  return text === '' ? undefined : JSON.parse(text)
}

function say(text) {
  process.stderr.write(`weft: ${text}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await setup()
    say('ready')
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    console.error(error.message)
    process.exit(1)
  }
}
