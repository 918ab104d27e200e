// `weft up`, `weft run` and `weft down` on one node, as an operator types them: programs come into
// the mesh and go, also by accident, and nothing of them stays.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { cgroupPids } from '../lab/cgroups.ts'
import { Lab } from '../lab/lab.ts'
import type { Node } from '../lab/node.ts'
import type { Program } from '../lab/program.ts'
import { client, LISTENING, server } from '../lab/programs.ts'
import { waitUntil } from '../lab/wait.ts'

const WEFT = fileURLToPath(new URL('../../bin/weft.mjs', import.meta.url))
const POOL = '10.99.0.0/24'
const SERVER = server('identity', 8080, { name: 'web' })

let lab: Lab
let node: Node
let up: Program
let state: string
let pins: string

test.before(async () => {
  lab = await Lab.open()
  node = await lab.node('one')
  state = join(lab.directory, 'state')
  pins = join('/sys/fs/bpf', `${lab.prefix}-one`)
  up = await weftUp()
})

test.after.always(async () => {
  await up?.stop(15_000)
  await lab?.close()
})

const common = () => ['--config', lab.config.directory, '--node', 'one', '--state', state]
const agentFlags = () => [
  ...[...common(), '--cgroup', node.agentCgroup, '--watch', node.podsCgroup, '--pins', pins],
  ...['--access-log', join(lab.directory, 'access.log'), '--workers', '2'],
]

function weftUp(): Promise<Program> {
  const argv = [process.execPath, WEFT, 'up', ...agentFlags()]
  return node.run(argv, { cgroup: node.agentCgroup, waitFor: 'agent.ready', timeoutMs: 30_000 })
}

function weftRun(name: string, flags: readonly string[], command: readonly string[]) {
  const place = ['--watch', node.podsCgroup, '--netns', `${lab.prefix}-run-${name}`]
  const argv = [...common(), ...place, '--pool', POOL, '--name', name, ...flags, '--', ...command]
  return node.run([process.execPath, WEFT, 'run', ...argv])
}

function weftDown() {
  return node.exec([process.execPath, WEFT, 'down', ...agentFlags()], { check: false })
}

/** The service of most tests, once it serves. */
async function web(): Promise<Program> {
  const program = await weftRun('web', ['--service', 'web:80:8080/tcp'], SERVER)
  await program.waitFor(LISTENING, { timeoutMs: 30_000 })
  return program
}

const list = (...path: string[]): string[] => {
  const directory = join(...path)
  return existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : []
}

/** Everything that a `weft run` makes, as far as it is there. */
async function remains(): Promise<string[]> {
  const links = await node.exec(['ip', '-o', 'link'])
  return [
    ...list('/run/netns').filter((path) => path.includes(`${lab.prefix}-run-`)),
    ...list(node.podsCgroup).filter((path) => existsSync(join(path, 'cgroup.procs'))),
    ...cgroupPids(node.podsCgroup).map((pid) => `process ${pid}`),
    ...['runs', 'addresses', 'enrolled'].flatMap((kind) => list(state, kind)),
    ...['one', 'services'].flatMap((kind) => list(lab.config.directory, 'run', kind)),
    ...links.stdout.split('\n').filter((line) => / weft/.test(line)),
  ]
}

/** Not a zombie either, which its new parent may leave for a while. */
function runs(pid: number): boolean {
  const file = `/proc/${pid}/status`
  return existsSync(file) && !/^State:\s+Z/m.test(readFileSync(file, 'utf8'))
}

async function endsWith(t: ExecutionContext, program: Program, code: number): Promise<void> {
  await waitUntil(() => !program.isRunning, `the end of ${program.describe()}`)
  t.is(program.exit?.code, code, program.describe())
}

test('a program calls the service by a name that `weft run` told, and its exit code comes back', async (t) => {
  const service = await web()
  const told = await service.waitFor(/service default\/web answers to web, web\.default and \S+/)
  t.true(told.endsWith('web.default.svc.cluster.local'))
  // What the caller says, and an exit code that is neither success nor a failure of `weft`.
  const asks = [...client('banner', 'web.default', 80)].map((word) => `'${word}'`).join(' ')
  const caller = await weftRun('caller', [], ['sh', '-c', `${asks} && exit 7`])
  await endsWith(t, caller, 7)
  const report = JSON.parse(caller.stdout) as { banner: string; peer: [string, number] }
  t.regex(report.peer[0], /^240\.240\.\d+\.\d+$/)
  t.is(report.peer[1], 80)
  t.like(JSON.parse(report.banner), { name: 'web', local: { port: 8080 } })
  t.true((await remains()).length > 0, 'the service still runs')
  await service.stop()
  t.deepEqual(await remains(), [])
})

test('a name that runs is refused to another, whose end takes nothing away', async (t) => {
  const service = await web()
  const before = await remains()
  const second = await weftRun('web', [], ['true'])
  await endsWith(t, second, 1)
  t.regex(
    second.stderr,
    /a workload of that name runs already \(process \d+\): give another --name/,
  )
  t.true(second.stderr.includes(`process ${service.pid}`))
  t.deepEqual(await remains(), before)
  await service.stop()
})

test('SIGTERM to `weft run` ends the program and leaves nothing', async (t) => {
  const service = await web()
  const [pid = 0] = cgroupPids(node.podsCgroup)
  service.kill('SIGTERM')
  await endsWith(t, service, 128 + 15)
  t.false(runs(pid))
  t.deepEqual(await remains(), [])
})

test('what a killed `weft run` left is cleared away by the next', async (t) => {
  const service = await web()
  const [pid = 0] = cgroupPids(node.podsCgroup)
  service.kill('SIGKILL')
  await waitUntil(() => !runs(service.pid), 'the end of `weft run`')
  t.true(runs(pid), 'nobody told the program')
  const next = await weftRun('next', [], ['sh', '-c', 'exit 0'])
  await endsWith(t, next, 0)
  t.false(runs(pid))
  t.deepEqual(await remains(), [])
})

test('`weft down` is refused while the agent runs', async (t) => {
  const { code, stderr } = await weftDown()
  t.is(code, 1)
  t.regex(stderr, /an agent runs on this host \(process \d+\): stop it first/)
  t.true(list(pins).length > 0)
  const program = await weftRun('still', [], ['true'])
  await endsWith(t, program, 0)
})

test('after a killed agent, `weft down` removes what is pinned, and runs are refused', async (t) => {
  const service = await web()
  up.kill('SIGKILL')
  await up.exited
  t.true(list(pins).length > 0, 'what is pinned outlives the agent')
  service.kill('SIGTERM')
  await endsWith(t, service, 128 + 15)
  t.deepEqual(await remains(), [], 'also without an agent that lets go of it')
  const { code, stdout, stderr } = await weftDown()
  t.is(code, 0, stderr)
  t.regex(stdout, /removed [1-9]\d* pinned objects/)
  t.deepEqual(list(pins), [])
  t.is((await attachedPrograms()).length, 0)
  // The same name: a stale sign of its enrolment would let it start outside the mesh.
  const alone = await weftRun('web', ['--timeout', '2'], ['sh', '-c', 'echo started'])
  await endsWith(t, alone, 1)
  t.regex(alone.stderr, /no agent brought default\/web into the mesh within 2 s: is `weft up /)
  t.is(alone.stdout, '')
  t.deepEqual(await remains(), [])
  up = await weftUp()
  const again = await weftRun('web', [], ['sh', '-c', 'echo started'])
  await endsWith(t, again, 0)
  t.is(again.stdout, 'started\n')
})

/** BPF programs on the watched cgroup. */
async function attachedPrograms(): Promise<unknown[]> {
  const argv = ['bpftool', '--json', 'cgroup', 'show', node.podsCgroup]
  const { stdout } = await node.exec(argv)
  return stdout.trim() === '' ? [] : (JSON.parse(stdout) as unknown[])
}
