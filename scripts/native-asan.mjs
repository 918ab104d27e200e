// Builds the addon under AddressSanitizer and UndefinedBehaviorSanitizer into build-asan/ and runs
// the kernel's compliance and leak tests with it. Fails on any finding, and on memory that our own
// code leaked; what Node and V8 keep until exit is theirs.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const BUILD = join(ROOT, 'build-asan')
const LOGS = join(BUILD, 'logs')
const NODE_DIRECTORY = join(process.execPath, '..', '..')
const TESTS = ['test/kernel/native.test.ts', 'test/kernel/leaks.test.ts']

process.exitCode = main()

function main() {
  if (!build()) return 1
  rmSync(LOGS, { recursive: true, force: true })
  mkdirSync(LOGS, { recursive: true })
  const passed = TESTS.map(runTest).every(Boolean)
  const findings = readdirSync(LOGS).flatMap((name) => findingsOf(join(LOGS, name)))
  for (const finding of findings) process.stderr.write(`${finding}\n\n`)
  const verdict = findings.length === 0 ? 'no findings' : `${findings.length} findings`
  process.stderr.write(`native-asan: tests ${passed ? 'passed' : 'failed'}, ${verdict}\n`)
  return passed && findings.length === 0 ? 0 : 1
}

function build() {
  const configure = ['-S', 'native', '-B', BUILD, '-DSANITIZE=ON', `-DNODE_DIR=${NODE_DIRECTORY}`]
  return run('cmake', configure) && run('cmake', ['--build', BUILD, '--parallel', '2'])
}

function runTest(file) {
  const ava = join(ROOT, 'node_modules', 'ava', 'entrypoints', 'cli.js')
  const environment = {
    ...process.env,
    WEFT_NATIVE: join(BUILD, 'weft.node'),
    // The sanitizers must be in the process before anything allocates.
    LD_PRELOAD: ['libasan.so', 'libubsan.so'].map(libraryPath).join(' '),
    ASAN_OPTIONS: `detect_leaks=1:log_path=${join(LOGS, 'asan')}:abort_on_error=0`,
    // Leaks do not decide the exit code here: most belong to Node. See findingsOf.
    LSAN_OPTIONS: 'exitcode=0:report_objects=0',
    UBSAN_OPTIONS: `print_stacktrace=1:log_path=${join(LOGS, 'ubsan')}`,
  }
  return run(process.execPath, [ava, '--no-worker-threads', '--timeout', '5m', file], environment)
}

/** The reports of one log that concern us: every error, and leaks with a frame of the addon. */
function findingsOf(path) {
  const blocks = readFileSync(path, 'utf8').split(/\n\n+/)
  return blocks.filter((block) => {
    if (/(Direct|Indirect) leak of/.test(block)) return /weft\.node|\/native\//.test(block)
    return /ERROR: AddressSanitizer|runtime error:/.test(block)
  })
}

function libraryPath(name) {
  const { stdout } = spawnSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' })
  return stdout.trim()
}

function run(command, args, env = process.env) {
  const { status, error } = spawnSync(command, args, { cwd: ROOT, env, stdio: 'inherit' })
  if (error === undefined) return status === 0
  process.stderr.write(`native-asan: cannot run ${command}: ${error.message}. Install it.\n`)
  return false
}
