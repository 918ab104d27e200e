// The door of every npm script: prepares the clone, then runs the task under Node 26. Works when
// npm itself runs under any Node >= 20.
import { spawn, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import {
  node26,
  ROOT,
  rebuildAddon,
  rebuildBpf,
  SetupError,
  setup,
  toolEnvironment,
} from './setup.mjs'

const AVA = join(ROOT, 'node_modules', 'ava', 'entrypoints', 'cli.js')

/** For each task: how far set-up goes, and what runs afterwards; the result is the exit code. */
const TASKS = {
  demo: { goal: 'all', run: (args) => node(['demo/main.ts', ...args]) },
  test: { goal: 'all', run: (args) => node(['scripts/test.mjs', ...args]) },
  'test-kernel': { goal: 'all', run: (args) => node(['scripts/test-kernel.mjs', ...args]) },
  soak: {
    goal: 'all',
    run: (args) => node(['scripts/test.mjs', '--soak', ...args], { WEFT_SOAK: '1' }),
  },
  check: { goal: 'built', run: check },
  format: { goal: 'modules', run: () => command('biome', ['check', '--write']) },
  'native-build': { goal: 'packages', run: forced(rebuildAddon) },
  'native-asan': { goal: 'packages', run: (args) => node(['scripts/native-asan.mjs', ...args]) },
  'bpf-build': { goal: 'packages', run: forced(rebuildBpf) },
  pack: { goal: 'all', run: pack },
}

async function check() {
  const steps = [
    () => command('tsc', ['--noEmit', '-p', '.']),
    () => command('biome', ['check']),
    () => node([AVA]),
  ]
  for (const step of steps) {
    const code = await step()
    if (code !== 0) return code
  }
  return 0
}

/** Fills dist/ and prebuilds/, so that an installed package needs neither tsc nor a compiler. */
async function pack() {
  rmSync(join(ROOT, 'dist'), { recursive: true, force: true })
  const code = await command('tsc', ['-p', 'tsconfig.build.json'])
  if (code !== 0) return code
  const directory = join(ROOT, 'prebuilds', `linux-${process.arch}`)
  mkdirSync(directory, { recursive: true })
  copyFileSync(join(ROOT, 'build', 'Release', 'weft.node'), join(directory, 'weft.node'))
  spawnSync('strip', ['--strip-debug', join(directory, 'weft.node')])
  return 0
}

function forced(build) {
  return async () => {
    build()
    return 0
  }
}

function node(args, env = {}) {
  return start(node26(), args, env)
}

function command(name, args) {
  const file = join(ROOT, 'node_modules', '.bin', name)
  if (!existsSync(file)) throw new SetupError(`weft: ${file} is missing: run \`npm ci\`.`)
  return start(file, args, {})
}

/** Runs in the foreground; the task decides what a signal means, and we wait for it. */
function start(file, args, env) {
  const child = spawn(file, args, {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...toolEnvironment(), ...env },
  })
  const handlers = ['SIGINT', 'SIGTERM', 'SIGHUP'].map((signal) => {
    // Ctrl-C reaches the whole foreground group by itself.
    const handler = () => {
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
    }
    process.on(signal, handler)
    return () => process.off(signal, handler)
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code, signal) => {
      for (const off of handlers) off()
      resolve(signal === null ? code : 128 + constants.signals[signal])
    })
  })
}

async function main([name, ...args]) {
  const task = TASKS[name]
  if (task === undefined) {
    throw new SetupError(
      `weft: unknown task "${name}": use one of ${Object.keys(TASKS).join(', ')}.`,
    )
  }
  const npmScript = process.env.npm_lifecycle_event ?? name
  const isBuiltIn = npmScript === 'start' || npmScript === 'test'
  await setup({ goal: task.goal, command: `npm ${isBuiltIn ? npmScript : `run ${npmScript}`}` })
  return task.run(args)
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  console.error(error.message)
  process.exitCode = 1
}
