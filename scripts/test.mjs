// Runs every test: first those that need nothing (beside the code, and the rules of test/tidy),
// then each file of the lab in a process of its own. The last line is `N passed, N failed`.
// Arguments: `--soak` (longer limits), `--jobs N` (lab files at once), and parts of file names.
import { spawn } from 'node:child_process'
import { globSync, readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cgroup2Mounts } from '../test/lab/cgroups.ts'
import {
  findLeftovers,
  isOwnerAlive,
  removeLeftovers,
  removeLeftoversOfTheDead,
} from '../test/lab/leftovers.ts'
import { tapReader } from './tap.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const AVA = join(ROOT, 'node_modules', 'ava', 'entrypoints', 'cli.js')
const UNIT_FILES = ['src/**/*.test.ts', 'scripts/*.test.mjs', 'test/tidy/**/*.test.ts']
const UNIT_TIMEOUT_MS = 240_000
/** Set on a machine that is slower than any real one (scripts/test-kernel.mjs). */
const PATIENCE = Number(process.env.WEFT_PATIENCE ?? 1)
const LAB_TIMEOUT_MS = 180_000 * PATIENCE
const SOAK_TIMEOUT_MS = 3_600_000

const { values: flags, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: { soak: { type: 'boolean' }, jobs: { type: 'string', default: '1' } },
})

const totals = { passed: 0, failed: 0, skipped: 0 }
const failures = []
const running = new Set()

/** Runs ava on some files; `label` stands before each result. */
async function runAva(label, args, timeoutMs) {
  const child = spawn(process.execPath, [AVA, '--tap', ...args], {
    cwd: ROOT,
    // A group of its own, so that a time-out ends ava and its children together.
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  running.add(child)
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    killGroup(child)
  }, timeoutMs)
  let failed = 0
  const reader = tapReader({
    onResult: (result) => {
      if (result.outcome === 'failed') failed++
      count(label, result)
    },
    onOther: (text) => say(`    ${text}`),
  })
  // The exit is awaited from the start: it may come before the last line was read.
  const exited = new Promise((resolve) => {
    child.on('close', (code, signal) => resolve(signal ?? code))
  })
  for await (const line of createInterface({ input: child.stdout })) reader.line(line)
  reader.end()
  const end = await exited
  clearTimeout(timer)
  running.delete(child)
  if (isLate) fail(label, `took longer than ${timeoutMs / 1000} s and was ended`)
  else if (end !== 0 && failed === 0) fail(label, `ended with ${end}`)
  removeLeftoversOfTheDead()
}

function count(label, { title, outcome, diagnosis }) {
  totals[outcome]++
  const mark = { passed: '✓', failed: '✗', skipped: '–' }[outcome]
  const name = label === '' ? title : `${label} › ${title}`
  say(`  ${mark} ${name}`)
  if (outcome === 'failed') {
    failures.push(name)
    for (const line of diagnosis) say(`    ${line}`)
  }
}

function fail(label, text) {
  count(label, { title: text, outcome: 'failed', diagnosis: [] })
}

function killGroup(child) {
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}

function matching(files) {
  return files.filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
}

async function runUnits() {
  const files = matching(globSync(UNIT_FILES, { cwd: ROOT }).sort())
  if (files.length === 0) return
  say(`unit tests and rules (${files.length} files)`)
  await runAva('', wanted.length === 0 ? [] : files, UNIT_TIMEOUT_MS)
}

async function runLabs() {
  const all = globSync('test/**/*.test.ts', { cwd: ROOT }).sort()
  const queue = matching(all.filter((file) => !file.startsWith('test/tidy/')))
  const timeoutMs = flags.soak ? SOAK_TIMEOUT_MS : LAB_TIMEOUT_MS
  const lane = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const startedMs = performance.now()
      say(file)
      const config = ['--config', 'lab.config.js', ...(flags.soak ? ['--timeout', '60m'] : [])]
      const label = relative('test', file).replace(/\.test\.ts$/, '')
      await runAva(label, [...config, file], timeoutMs)
      say(`  (${label}: ${((performance.now() - startedMs) / 1000).toFixed(1)} s)`)
    }
  }
  await Promise.all(Array.from({ length: Number(flags.jobs) }, lane))
}

/** Names of ours outside any lab: what the program itself makes. */
function traces() {
  const places = ['/run/netns', '/sys/fs/bpf', '/sys/class/net', ...cgroup2Mounts()]
  return places.flatMap((place) =>
    list(place)
      .filter((name) => name.startsWith('weft'))
      .map((name) => join(place, name)),
  )
}

function list(directory) {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

/** Everything that tests left behind is a failure, and is removed. */
function checkLeftovers(before) {
  // A living owner is somebody else's lab.
  const left = findLeftovers().filter(({ prefix }) => !isOwnerAlive(prefix))
  for (const { kind, name } of left) fail('', `left behind: ${kind} ${name}`)
  for (const prefix of new Set(left.map((each) => each.prefix))) removeLeftovers(prefix)
  for (const path of traces()) if (!before.has(path)) fail('', `left behind: ${path}`)
}

function say(text) {
  process.stdout.write(`${text}\n`)
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    for (const child of running) killGroup(child)
    removeLeftoversOfTheDead()
    process.exit(signal === 'SIGINT' ? 130 : 143)
  })
}

removeLeftoversOfTheDead()
const before = new Set(traces())
await runUnits()
await runLabs()
checkLeftovers(before)

if (totals.passed + totals.failed + totals.skipped === 0) fail('', 'no test was found')
if (failures.length > 0) {
  say('\nfailed:')
  for (const name of failures) say(`  ${name}`)
}
// Set-up has refused machines without root and BPF, so nothing has a right to be skipped.
if (totals.skipped > 0) say('\nskipped tests count as a failure here')
process.exitCode = totals.failed + totals.skipped > 0 ? 1 : 0
const skipped = totals.skipped > 0 ? `, ${totals.skipped} skipped` : ''
say(`\n${totals.passed} passed, ${totals.failed} failed${skipped}`)
