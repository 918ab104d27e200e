// Runs the tests of the BPF programs and of the addon on Debian 12's own kernel, in a machine that
// QEMU emulates. The last line is `N passed, N failed`. Arguments: `--patience N` (how many times
// longer the tests may wait than on this machine), and parts of file names.
import { spawn } from 'node:child_process'
import { globSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { initScript, serialReader, verdict } from './kernel-contents.mjs'
import { fetchKernel, ImageError, makeImage, NODE, PROJECT } from './kernel-image.mjs'
import { installPackages, KERNEL_LAB } from './packages.mjs'
import { ROOT } from './setup.mjs'

const FILES = ['test/kernel/*.test.ts', 'test/bpf/*.test.ts']
/** The forms of older kernels are this kernel's own: the plain file tests them. */
const EXCEPT = 'test/bpf/guard-older.test.ts'
const CACHE = join(ROOT, '.weft', 'kernel')
const BOOT_TIMEOUT_MS = 300_000
const RUN_TIMEOUT_MS = 3 * 3_600_000
const MEMORY_MIB = 3072

const { values: flags, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: { patience: { type: 'string', default: '8' } },
})

function say(text) {
  process.stdout.write(`${text}\n`)
}

/** Without arguments, what the kernel decides; any test of the lab can be asked for. */
function files() {
  const patterns = wanted.length === 0 ? FILES : ['test/**/*.test.ts']
  const all = patterns.flatMap((pattern) => globSync(pattern, { cwd: ROOT }).sort())
  if (wanted.length === 0) return all.filter((file) => file !== EXCEPT)
  return all.filter(
    (file) => !file.startsWith('test/tidy/') && wanted.some((part) => file.includes(part)),
  )
}

/** Resolves with what the machine said when it has stopped. */
async function boot({ vmlinuz, image, console }) {
  const args = [
    '-accel',
    'tcg,thread=multi',
    '-cpu',
    'Nehalem',
    '-smp',
    '2',
    '-m',
    String(MEMORY_MIB),
  ]
  args.push('-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-nic', 'none')
  // The kernel's own words apart from the tests'.
  args.push('-serial', `file:${console}`, '-serial', 'stdio')
  args.push('-kernel', vmlinuz, '-initrd', image)
  args.push('-append', 'console=ttyS0 loglevel=7 panic=-1 oops=panic')
  // Behind others: emulation takes all there is.
  const child = spawn('nice', ['-n', '5', 'qemu-system-x86_64', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const stop = () => child.kill('SIGKILL')
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, stop)
  const reader = serialReader()
  let timer = setTimeout(stop, BOOT_TIMEOUT_MS)
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  for await (const line of createInterface({ input: child.stdout })) {
    const wasUp = reader.state.release !== undefined
    const text = reader.line(line)
    if (text !== undefined) say(text)
    if (wasUp || reader.state.release === undefined) continue
    say(`Linux ${reader.state.release} is up`)
    clearTimeout(timer)
    timer = setTimeout(stop, RUN_TIMEOUT_MS)
  }
  await ended
  clearTimeout(timer)
  return reader.state
}

function lastLines(path, count) {
  return readFileSync(path, 'utf8').trim().split('\n').slice(-count).join('\n')
}

async function main() {
  if (process.arch !== 'x64') {
    throw new ImageError('weft: test:kernel emulates x86-64 on x86-64 only: run it there.')
  }
  const chosen = files()
  if (chosen.length === 0) throw new ImageError(`weft: no test file matches ${wanted.join(' ')}.`)
  try {
    installPackages(say, KERNEL_LAB)
  } catch (error) {
    throw new ImageError(error.message)
  }
  const kernel = fetchKernel(CACHE, say)
  const image = join(CACHE, `image-${process.pid}`)
  const console = join(CACHE, 'console.log')
  rmSync(console, { force: true })
  try {
    say(`making a machine of ${kernel.release}`)
    const patience = Number(flags.patience)
    const init = initScript({ project: PROJECT, node: NODE, patience, files: chosen })
    const staging = `${image}.d`
    makeImage({ root: ROOT, staging, output: image, kernel, init })
    const { failure, totals } = verdict(await boot({ vmlinuz: kernel.vmlinuz, image, console }))
    if (failure !== undefined) {
      say(`\nweft: ${failure}; the kernel said last (${console}):\n${lastLines(console, 12)}\n`)
      process.exitCode = 1
    }
    say(totals)
  } finally {
    rmSync(image, { force: true })
    rmSync(`${image}.d`, { recursive: true, force: true })
  }
}

try {
  await main()
} catch (error) {
  if (!(error instanceof ImageError)) throw error
  console.error(error.message)
  process.exitCode = 1
}
