// What breaks, and what goes on: agents that are killed and restarted, workers that crash, a link
// that is cut, pods that are deleted while bytes flow, and an agent that is told to end.
import { existsSync, readdirSync, readlinkSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { Agent } from '../lab/agent.ts'
import { authorizationPolicy, podResource } from '../lab/mesh-config.ts'
import type { Pod } from '../lab/pod.ts'
import * as programs from '../lab/programs.ts'
import { call, Held, Mesh, principal, type Report, seenBy, serve, servicePort } from './mesh.ts'

const ECHO = 7000
const IDENTITY = 7001

let mesh: Mesh
let caller: Pod
/** May be called directly by `caller`, and by nobody else. */
let near: Pod
/** May be called directly by `outcast`, and by nobody else. */
let other: Pod
let outcast: Pod
let far: Pod

test.before(async () => {
  mesh = await Mesh.open()
  const { one, two, lab } = mesh
  caller = await mesh.pod(one, 'caller')
  near = await mesh.pod(one, 'near')
  other = await mesh.pod(one, 'other')
  outcast = await mesh.pod(one, 'outcast')
  far = await mesh.pod(two, 'far')
  lab.config.write('services.yaml', [
    mesh.service('near', { app: 'near' }, [ECHO, IDENTITY], 'tcp'),
    mesh.service('other', { app: 'other' }, [ECHO, IDENTITY], 'tcp'),
    mesh.service('far', { app: 'far' }, [ECHO, IDENTITY]),
  ])
  lab.config.write('policies.yaml', [only(near, caller), only(other, outcast)])
  await mesh.start()
  for (const pod of [near, other, far]) {
    const identity = programs.server('identity', IDENTITY, { name: pod.name })
    await serve(pod, programs.server('echo', ECHO), identity)
  }
})

test.after.always(() => mesh?.close())

function only(to: Pod, from: Pod) {
  return authorizationPolicy(`only-${from.name}`, 'default', {
    selector: { matchLabels: { app: to.name } },
    rules: [{ from: [{ source: { principals: [principal(from)] } }] }],
  })
}

function held(to: Pod, count: number): Promise<Held> {
  return Held.open(caller, mesh.vip(to.name).v4, servicePort(ECHO), count)
}

function ask(from: Pod, to: Pod): Promise<Report> {
  return call(from, programs.client('banner', mesh.vip(to.name).v4, servicePort(IDENTITY)))
}

async function many(from: Pod, to: Pod, total: number): Promise<programs.ManyReport> {
  const { v4, v6 } = mesh.vip(to.name)
  const port = servicePort(IDENTITY)
  const destinations = [v4, v6].map((host) => ({ host, port, name: to.name }))
  const program = await (await from.run(programs.connectMany(destinations, total, 4))).finish()
  return program.report<programs.ManyReport>()
}

test('a killed peer agent ends its connections; a restarted one serves new ones', async (t) => {
  const [, peer] = mesh.agents
  const held5 = await held(far, 5)
  t.like(await held5.use(), { ok: 5, failed: 0 })
  await peer.kill()
  t.like(await held5.use(), { ok: 0, failed: 5, ended: 0 })
  await held5.close()
  t.false((await ask(caller, far)).ok)
  const [entry] = await mesh.waitForEntries(
    ({ direction, reason }) => direction === 'outbound' && reason === 'connect-failed',
    1,
    'the failure',
  )
  t.like(entry, { path: 'tunnel', destination: { workload: 'far' } })
  await peer.start()
  await mesh.enrolled(far)
  t.like(await many(caller, far, 40), { ok: 40, wrong: 0, failed: 0 })
})

test('while its agent is dead a captured program is refused, and direct connections live', async (t) => {
  const [agent] = mesh.agents
  const direct = await held(near, 5)
  const tunnels = await held(far, 5)
  await agent.kill()
  for (const host of [mesh.vip('far').v4, mesh.vip('far').v6, far.ip, mesh.two.ip]) {
    const report = await call(caller, programs.client('connect', host, servicePort(ECHO)))
    t.like(report, { ok: false, error: 'ECONNREFUSED' }, host)
  }
  t.like(await direct.use(), { ok: 5, failed: 0 })
  t.like(await tunnels.use(), { ok: 0, failed: 5, ended: 0 })
  t.like(await many(caller, near, 40), { ok: 40, wrong: 0, failed: 0 })
  await agent.start()
  await mesh.enrolled(caller, near, other, outcast)
  t.like(await direct.use(), { ok: 5, failed: 0 })
  t.true((await ask(caller, far)).ok)
  for (const each of [direct, tunnels]) await each.close()
})

test('an agent restarted with its configuration in another order takes over what is pinned', async (t) => {
  const [agent] = mesh.agents
  const direct = await held(near, 5)
  const allowed: programs.ManyReport[] = []
  const denied: programs.ManyReport[] = []
  let isOver = false
  const keepAsking = async () => {
    while (!isOver) {
      allowed.push(await many(caller, near, 40), await many(outcast, other, 40))
      denied.push(await many(caller, other, 40), await many(outcast, near, 40))
    }
  }
  const asking = keepAsking()
  await mesh.lab.waitUntil(() => denied.length >= 2, 'a first round of questions')
  await agent.kill()
  await reorder()
  const before = denied.length
  await mesh.lab.waitUntil(() => denied.length >= before + 2, 'a round without an agent')
  await agent.start()
  await mesh.enrolled(caller, near, other, outcast)
  const after = denied.length
  await mesh.lab.waitUntil(() => denied.length >= after + 4, 'two rounds with the new agent')
  isOver = true
  await asking
  const started = agent.logLines().find(({ event }) => event === 'datapath.started')
  t.is(started?.takenOver, true)
  for (const report of allowed) t.like(report, { ok: 40, wrong: 0, failed: 0 })
  for (const report of denied) t.like(report, { ok: 0, wrong: 0, failed: 40 })
  t.like(await direct.use(), { ok: 5, failed: 0 })
  await direct.close()
})

/** Every file gets another place, and a workload that comes before all others appears. */
async function reorder(): Promise<void> {
  const { directory } = mesh.lab.config
  const files = readdirSync(directory).filter((name) => name.endsWith('.yaml'))
  for (const [at, name] of files.sort().entries()) {
    renameSync(join(directory, name), join(directory, `${90 - at}-${name}`))
  }
  const first = await mesh.one.pod('aaa')
  mesh.lab.config.write('00-aaa.yaml', [podResource(first)])
}

for (const [side, index] of [
  ['source', 0],
  ['destination', 1],
] as const) {
  test(`a worker of the ${side}'s agent crashes: others take over, and a replacement serves`, async (t) => {
    const agent = mesh.agents[index] as Agent
    const replaced = (worker: number) =>
      agent.waitForLog(
        (line) => line.event === 'worker.replaced' && line.worker === worker,
        `the replacement of worker ${worker}`,
      )
    const open = await held(far, 20)
    const asking = many(caller, far, 1500)
    await agent.crashWorker(0)
    const report = await asking
    t.is(report.wrong, 0)
    t.is(report.ok + report.failed, 1500)
    // Only those that the worker held when it died: each of the four clients has one at a time, and
    // at the destination may meet the sessions of both of the source's workers before they know.
    t.true(report.failed <= (side === 'source' ? 4 : 8), JSON.stringify(report))
    const { ok, failed, ended } = await open.use()
    t.is(ok + failed, 20)
    t.is(ended, 0, 'what a worker leaves behind is reset, never ended')
    // At the destination few tunnels carry all of them, which may have been in one worker.
    if (side === 'source') t.true(ok > 0 && failed > 0, `${ok} live on, ${failed} do not`)
    await open.close()
    await replaced(0)
    await agent.crashWorker(1)
    t.like(await many(caller, far, 100), { ok: 100, wrong: 0, failed: 0 }, 'served by the new one')
    await replaced(1)
    t.like(await many(caller, far, 100), { ok: 100, wrong: 0, failed: 0 })
  })
}

test('what is sent into a cut link arrives when it is whole again', async (t) => {
  const open = await held(far, 5)
  await mesh.lab.dropLink(mesh.two)
  const answers = open.use()
  const late = ask(caller, far)
  // Something was sent again, so nothing had arrived.
  await mesh.lab.waitUntil(async () => (await retransmits(caller)) > 0, 'a retransmission')
  await mesh.lab.restoreLink(mesh.two)
  t.like(await answers, { ok: 5, failed: 0 })
  t.true((await late).ok)
  await open.close()
})

async function retransmits(pod: Pod): Promise<number> {
  const { stdout } = await pod.exec(['ss', '-Htin', 'dport = :15008'], { outsideCgroup: true })
  return [...stdout.matchAll(/ retrans:(\d+)\//g)].reduce((sum, [, n]) => sum + Number(n), 0)
}

for (const [path, node] of [
  ['a tunnel', 'two'],
  ['the direct path', 'one'],
] as const) {
  test(`a pod that is deleted while ${path} carries bytes leaves nothing`, async (t) => {
    const gone = await mesh.pod(mesh[node], 'gone')
    const service = mesh.service('gone', { app: 'gone' }, [ECHO], 'tcp')
    await mesh.apply('gone.yaml', [service])
    await mesh.enrolled(gone)
    const agent = mesh.agentOf(gone)
    const namespace = statSync(`/run/netns/${gone.netns}`).ino
    const pins = podPins(agent)
    await serve(gone, programs.server('sink', ECHO, { rate: 0 }))
    const argv = programs.client('send', mesh.vip('gone').v4, servicePort(ECHO), {
      bytes: 50_000_000,
    })
    const sender = await caller.run(argv)
    await mesh.lab.waitUntil(() => unread(gone), 'bytes that nobody reads')
    await gone.remove()
    await sender.exited
    t.like(sender.report(), { ok: false, error: 'ECONNRESET' })
    await agent.waitForLog(
      ({ event, workload }) => event === 'enrolment.left' && String(workload).endsWith('/gone'),
      'the farewell of the pod',
    )
    t.is(podPins(agent).length, pins.length - 1)
    t.false(heldBy(agent).includes(`net:[${namespace}]`), 'the agent holds its namespace')
    await mesh.waitForEntries(
      (entry) =>
        entry.destination.workload === 'gone' &&
        entry.path === (node === 'one' ? 'direct' : 'tunnel') &&
        entry.reason !== 'completed',
      1,
      'the broken transfer',
    )
    mesh.lab.config.remove('pod-default-gone.yaml')
    await mesh.remove('gone.yaml')
  })
}

async function unread(pod: Pod): Promise<boolean> {
  const { stdout } = await pod.exec(['ss', '-Htn', `sport = :${ECHO}`])
  return Number(stdout.trim().split(/\s+/)[1] ?? 0) > 0
}

function podPins(agent: Agent): string[] {
  return readdirSync(join(agent.pins, 'pods'))
}

/** What its descriptors refer to. */
function heldBy(agent: Agent): string[] {
  const directory = `/proc/${agent.pid}/fd`
  return readdirSync(directory).flatMap((fd) => {
    try {
      return readlinkSync(join(directory, fd))
    } catch {
      return [] // closed meanwhile
    }
  })
}

test('agents that are told to end leave nothing', async (t) => {
  const pins = mesh.agents.map((agent) => agent.pins)
  t.true(pins.every((path) => existsSync(path)))
  await Promise.all(mesh.agents.map((agent) => agent.kill('SIGINT')))
  t.deepEqual(
    mesh.agents.map((agent) => agent.program.exit),
    mesh.agents.map(() => ({ code: 0, signal: null })),
  )
  t.deepEqual(pins.filter(existsSync), [])
  const cgroups = [mesh.one, mesh.two].map((node) => node.agentCgroup)
  t.deepEqual(cgroups.filter(existsSync), [])
  for (const pod of [caller, near, far]) {
    const rules = await pod.exec(['sh', '-c', 'ip rule; ip -6 rule; ip route show table all'])
    t.notRegex(rules.stdout, /0x111|table 100/)
    const expected = pod === caller ? [] : [`LISTEN ${ECHO}`, `LISTEN ${IDENTITY}`]
    await mesh.lab.waitUntil(
      async () => String(await sockets(pod)) === String(expected),
      `the last sockets of ${pod.name} to go`,
    )
  }
  const plain = await call(caller, programs.client('banner', far.ip, IDENTITY))
  t.deepEqual(seenBy(plain).remote, { ip: caller.ip, port: plain.local?.[1] ?? 0 })
})

/** State and port of each socket that is not merely waiting for the end of its time. */
async function sockets(pod: Pod): Promise<string[]> {
  const { stdout } = await pod.exec(['ss', '-Htan', 'exclude', 'time-wait'])
  const lines = stdout.trim().split('\n').filter(Boolean)
  return lines.map((line) => line.replace(/^(\S+).*?:(\d+)\s.*$/, '$1 $2')).sort()
}
