// Much at once: large transfers, many connections, readers that do not read. What is measured is
// that nothing is lost, mistaken or kept in memory; how fast it goes is for benchmarks.
import { readFileSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import type { AccessEntry } from '../../src/model/access-entry.ts'
import { LIMITS } from '../../src/model/limits.ts'
import type { Pod } from '../lab/pod.ts'
import type { Program } from '../lab/program.ts'
import {
  client,
  connectMany,
  type Destination,
  LISTENING,
  type ManyReport,
  nodeEcho,
  push,
  server,
} from '../lab/programs.ts'
import { Held, Mesh, type Report, serve, servicePort } from './mesh.ts'

const IS_SOAK = process.env.WEFT_SOAK === '1'
const MIB = 1_048_576
const BULK = (IS_SOAK ? 1024 : 128) * MIB
const BULK_MS = IS_SOAK ? 120_000 : 45_000
const HELD = 500
// test/bpf/capture.test.ts makes 20,000 in every run; here each takes two agents and a tunnel.
const CONNECTIONS = IS_SOAK ? 200_000 : 5_000
const CLIENTS = 64
const HANDSHAKES = 400

const ECHO = 7000
const SINK = 7001
const SOURCE = 7002
const STUCK = 7003
const IDENTITY = 7004
/** Of the one test that counts every connection to them. */
const IDENTITIES = [7010, 7011, 7012]

/** Writers whose server does not read, all in tunnels between the same two agents. */
const PUSHERS = 4
const PUSHED_MAX = 512 * MIB
/** What the windows allow to be under way, and as much again for a collector that has not run. */
const GROWTH_MAX =
  2 * (LIMITS.sessionWindowBytes + PUSHERS * (LIMITS.streamWindowBytes + LIMITS.relayQueueBytesMax))

let mesh: Mesh
let caller: Pod
/** On the caller's node, ports declared TCP: the kernel connects the two. */
let near: Pod
/** On the caller's node, ports not declared: a tunnel within the node. */
let shy: Pod
let far: Pod
let other: Pod
let stuck: Program

test.before(async () => {
  mesh = await Mesh.open()
  const { one, two, lab } = mesh
  caller = await mesh.pod(one, 'caller')
  near = await mesh.pod(one, 'near')
  shy = await mesh.pod(one, 'shy')
  far = await mesh.pod(two, 'far')
  other = await mesh.pod(two, 'other')
  const ports = [ECHO, SINK, SOURCE, STUCK, IDENTITY, ...IDENTITIES]
  lab.config.write('services.yaml', [
    mesh.service('near', { app: 'near' }, ports, 'tcp'),
    ...['shy', 'far', 'other'].map((app) => mesh.service(app, { app }, ports)),
  ])
  await mesh.start()
  const identities = (pod: Pod) =>
    [IDENTITY, ...IDENTITIES].map((port) => server('identity', port, { name: nameOf(pod, port) }))
  const bulk = [server('sink', SINK), server('source', SOURCE)]
  await serve(near, ...bulk, ...identities(near))
  await serve(far, ...bulk, nodeEcho(ECHO), ...identities(far))
  for (const pod of [shy, other]) await serve(pod, ...identities(pod))
  stuck = await far.run(server('sink', STUCK, { rate: 0 }), { waitFor: LISTENING })
})

test.after.always(() => mesh?.close())

const nameOf = (pod: Pod, port: number): string => `${pod.name}:${port}`

function destination(pod: Pod, port: number): Destination {
  return { host: mesh.vip(pod.name).v4, port: servicePort(port), name: nameOf(pod, port) }
}

async function reportOf<T>(from: Pod, argv: readonly string[], timeoutMs: number): Promise<T> {
  const program = await from.run(argv)
  return (await program.finish(timeoutMs)).report<T>()
}

async function many(
  t: ExecutionContext,
  from: Pick<Pod, 'run'>,
  destinations: readonly Destination[],
  total: number,
  clients = CLIENTS,
): Promise<ManyReport> {
  const program = await from.run(connectMany(destinations, total, clients))
  await program.finish(IS_SOAK ? 900_000 : 90_000)
  const report = program.report<ManyReport>()
  const { ok, wrong, failed } = report
  t.deepEqual({ ok, wrong, failed }, { ok: total, wrong: 0, failed: 0 }, JSON.stringify(report))
  return report
}

const isCallOf =
  (pod: Pod, port: number, direction: AccessEntry['direction'] = 'outbound') =>
  (entry: AccessEntry): boolean =>
    entry.direction === direction &&
    entry.destination.workload === pod.name &&
    entry.destination.port === (direction === 'outbound' ? servicePort(port) : port)

/** Resident memory of a process. */
function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kib) * 1024
}

// First, because memory that a large transfer has needed would hide what this one keeps.
test('a server that does not read stops its clients, costs no memory, and loses nothing', async (t) => {
  await many(t, caller, [destination(far, IDENTITY)], 200)
  const before = mesh.agents.map(({ pid }) => residentBytes(pid))
  const to = destination(far, STUCK)
  const pushers = await Promise.all(
    Array.from({ length: PUSHERS }, () => caller.run(push(to.host, to.port, PUSHED_MAX))),
  )
  const blocked = await Promise.all(pushers.map(untilBlocked))
  for (const bytes of blocked) t.true(bytes > 0 && bytes < PUSHED_MAX, `${bytes} bytes`)
  const elsewhere = [destination(far, IDENTITY), destination(near, IDENTITY)]
  await many(t, caller, elsewhere, 200)
  for (const [at, { pid }] of mesh.agents.entries()) {
    const growth = residentBytes(pid) - (before[at] ?? 0)
    t.true(growth < GROWTH_MAX, `agent ${at} grew by ${growth}, more than ${GROWTH_MAX} bytes`)
  }
  t.deepEqual(await Promise.all(pushers.map(untilBlocked)), blocked, 'still blocked')
  stuck.write('go\n')
  const sent: number[] = []
  for (const pusher of pushers) {
    pusher.write('finish\n')
    const report = (await pusher.finish(60_000)).report<Report & { bytes: number }>()
    t.true(report.ok, JSON.stringify(report))
    sent.push(report.bytes)
  }
  const entries = await mesh.waitForEntries(isCallOf(far, STUCK), PUSHERS, 'blocked clients')
  t.deepEqual(entries.map(({ sentBytes }) => sentBytes).sort(), sent.sort())
  t.true(entries.every(({ reason }) => reason === 'completed'))
})

/** Resolves with what a `push` client could send, once that stays the same. */
async function untilBlocked(pusher: Program): Promise<number> {
  const told = () => [...pusher.stdout.matchAll(/^blocked (\d+)$/gm)].map(([, bytes]) => bytes)
  const start = told().length
  return mesh.lab.waitUntil(
    () => {
      const [last, earlier] = told().slice(start).reverse()
      return last !== undefined && last === earlier ? Number(last) : undefined
    },
    `a blocked client: ${pusher.describe()}`,
    { timeoutMs: 60_000 },
  )
}

for (const [way, to] of [
  ['a tunnel', () => far],
  ['the direct path', () => near],
] as const) {
  test(`${BULK / MIB} MiB pass whole through ${way} in either direction`, async (t) => {
    const pod = to()
    const path = pod === near ? 'direct' : 'tunnel'
    const host = mesh.vip(pod.name).v4
    const options = { bytes: BULK, timeoutSeconds: BULK_MS / 1000 }
    const up = client('send', host, servicePort(SINK), options)
    const sent = await reportOf<{ ok: boolean; answer: [string, string] }>(caller, up, BULK_MS)
    t.true(sent.ok, 'both ends have the same length and checksum')
    const answerBytes = sent.answer.join(' ').length + 1
    await countsAre(t, pod, SINK, { path, sentBytes: BULK, receivedBytes: answerBytes })
    const down = client('fetch', host, servicePort(SOURCE), options)
    t.like(await reportOf(caller, down, BULK_MS), { ok: true, bytes: BULK })
    const asked = `${BULK}\n`.length
    await countsAre(t, pod, SOURCE, { path, sentBytes: asked, receivedBytes: BULK })
  })
}

/** Both logs tell the same; a direct connection has one entry. */
async function countsAre(
  t: ExecutionContext,
  pod: Pod,
  port: number,
  wanted: Pick<AccessEntry, 'path' | 'sentBytes' | 'receivedBytes'>,
): Promise<void> {
  const [out] = await mesh.waitForEntries(isCallOf(pod, port), 1, 'the transfer')
  t.like(out, { ...wanted, reason: 'completed' })
  if (wanted.path === 'direct') return
  const [into] = await mesh.waitForEntries(isCallOf(pod, port, 'inbound'), 1, 'the transfer')
  t.like(into, { ...wanted, reason: 'completed' })
}

test(`${HELD} connections live in tunnels at once, all work, and end cleanly`, async (t) => {
  const held = await Held.open(caller, mesh.vip('far').v4, servicePort(ECHO), HELD)
  t.like(await held.use(), { ok: HELD, failed: 0 })
  t.like(await held.use(), { ok: HELD, failed: 0 })
  t.deepEqual(mesh.entries(isCallOf(far, ECHO)), [], 'none has ended')
  await held.close()
  for (const direction of ['outbound', 'inbound'] as const) {
    const ended = await mesh.waitForEntries(isCallOf(far, ECHO, direction), HELD, direction)
    t.is(ended.length, HELD)
    t.true(ended.every(({ reason, path }) => reason === 'completed' && path === 'tunnel'))
    // Two rounds of `N:INDEX\n`, answered by as much.
    t.true(ended.every(({ sentBytes, receivedBytes }) => sentBytes === receivedBytes))
    t.true(ended.every(({ sentBytes }) => sentBytes >= 8))
  }
})

test('handshakes with cookies are captured and accepted like others', async (t) => {
  const pods = [caller, near, far]
  for (const pod of pods) await pod.setSysctls({ 'net.ipv4.tcp_syncookies': 2 })
  const before = await Promise.all(pods.map(cookiesProven))
  const port = IDENTITY
  await many(t, caller, [destination(far, port)], HANDSHAKES, 16)
  await many(t, caller, [destination(near, port)], HANDSHAKES, 16)
  // Plain text from outside the mesh, where it is permitted.
  const host = far.v4 ?? ''
  await many(t, mesh.one, [{ host, port, name: nameOf(far, port) }], HANDSHAKES, 16)
  const after = await Promise.all(pods.map(cookiesProven))
  const proven = after.map((count, at) => count - (before[at] ?? 0))
  for (const pod of pods) await pod.setSysctls({ 'net.ipv4.tcp_syncookies': 1 })
  // A few come without: where a closed connection rests at the same ports, its memory is proof.
  const most = 0.9 * HANDSHAKES
  t.true((proven[0] ?? 0) > most, `captured: ${proven}`)
  t.true((proven[1] ?? 0) > most, `direct: ${proven}`)
  // What the agent accepted in plain text, and what the server accepted from it of both kinds.
  t.true((proven[2] ?? 0) > 3 * most, `inbound: ${proven}`)
})

/** Handshakes that the pod's kernel completed from a cookie. */
async function cookiesProven(pod: Pod): Promise<number> {
  const { stdout } = await pod.exec(['cat', '/proc/net/netstat'])
  const [names = [], values = []] = stdout
    .split('\n')
    .filter((line) => line.startsWith('TcpExt:'))
    .map((line) => line.split(' '))
  return Number(values[names.indexOf('SyncookiesRecv')])
}

test(`${CONNECTIONS} connections of ${CLIENTS} clients reach whom they asked for`, async (t) => {
  const pods = [far, other, shy, near]
  const destinations = pods.flatMap((pod) => IDENTITIES.map((port) => destination(pod, port)))
  const report = await many(t, caller, destinations, CONNECTIONS)
  t.is(Object.keys(report.perDestination).length, destinations.length)
  const total = () => [...outboundByKey().values()].reduce((sum, count) => sum + count, 0)
  await mesh.lab.waitUntil(() => total() >= CONNECTIONS, 'all in the log', { everyMs: 500 })
  const logged = outboundByKey()
  t.is(total(), CONNECTIONS)
  for (const { host, port, name } of destinations) {
    const count = logged.get(`${host} ${port} ${name.split(':')[0]}`)
    t.is(count, report.perDestination[name], `the log tells the same of ${name}`)
  }
})

/** Counted line by line: a soak writes more than is good to hold as objects. */
function outboundByKey(): Map<string, number> {
  const ports = IDENTITIES.map(servicePort)
  const counts = new Map<string, number>()
  const lines = readFileSync(mesh.agents[0].accessLogFile, 'utf8').split('\n')
  for (const line of lines) {
    // The last may be half written.
    if (!line.includes('"outbound"') || !line.endsWith('}')) continue
    const { ip, port, workload } = (JSON.parse(line) as AccessEntry).destination
    const key = `${ip} ${port} ${workload}`
    if (ports.includes(port)) counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return counts
}
