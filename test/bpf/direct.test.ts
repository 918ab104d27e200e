import test from 'ava'
import type { DirectConnection } from '../../src/kernel/datapath.ts'
import type { AccessEntry } from '../../src/model/access-entry.ts'
import type { WantedMaps, WantedVerdict } from '../../src/model/wanted-maps.ts'
import type { Pod } from '../lab/pod.ts'
import { client, connectMany, hold, type ManyReport, PYTHON, server } from '../lab/programs.ts'
import { load, waitUntil } from '../lab/wait.ts'
import { directTo, Stage } from './stage.ts'

const PORT = 7000
const ECHO = 7001
const SINK = 7002
const VIP = '10.96.0.10'
const FLIPS = 150

let stage: Stage
let a: Pod
let b: Pod
let c: Pod

interface Report {
  readonly ok: boolean
  readonly error?: string
  readonly banner?: string
  readonly peer?: readonly [string, number]
}

async function run(pod: Pod, argv: readonly string[]): Promise<Report> {
  const { stdout } = await pod.exec(argv, { check: false })
  return JSON.parse(stdout) as Report
}

/** Who answered: a pod's server by its name, or the driver in its place. */
async function answererOf(host: string, port: number): Promise<string> {
  const report = await run(a, client('banner', host, port))
  return report.banner === undefined ? (report.error ?? '') : JSON.parse(report.banner).name
}

const verdict = (
  port: number,
  decision: WantedVerdict['verdict'],
  destination = 'b',
  source = 'a',
): WantedVerdict => ({ source, destination, port, verdict: decision })

function allowed(port: number, version = 1): WantedMaps {
  return directTo(b, port, [verdict(port, 'allow')], version, { ip: VIP, port })
}

async function entries(count: number): Promise<AccessEntry[]> {
  const found: AccessEntry[] = []
  await waitUntil(async () => {
    found.push(...(await stage.driver.call<AccessEntry[]>('entries')))
    return found.length >= count
  }, `${count} access entries`)
  return found
}

test.before(async () => {
  stage = await Stage.open()
  await stage.begin()
  a = await stage.pod('a')
  b = await stage.pod('b')
  c = await stage.pod('c')
  for (const pod of [b, c]) {
    await pod.run(server('identity', PORT, { name: pod.name }), { waitFor: 'listening' })
    await pod.run(server('echo', ECHO), { waitFor: 'listening' })
  }
  await b.run(server('sink', SINK), { waitFor: 'listening' })
})

test.after.always(() => stage?.close())

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain())
})

test.serial('an allowed connection is completed by the kernel, over every family', async (t) => {
  await stage.driver.call('generation', allowed(PORT, 5))
  for (const host of [b.v4 ?? '', b.v6 ?? '', `::ffff:${b.v4}`, VIP]) {
    const report = await run(a, client('banner', host, PORT))
    t.is(JSON.parse(report.banner ?? '{}').name, 'b', host)
    t.deepEqual(report.peer?.slice(0, 2), [host, PORT], 'getpeername shows what was asked for')
  }
  const found = await entries(4)
  t.deepEqual(
    found.map(({ path, reason, version }) => ({ path, reason, version })),
    Array.from({ length: 4 }, () => ({ path: 'direct', reason: 'completed', version: 5 })),
  )
  t.deepEqual(
    found.map(({ source, destination }) => `${source.workload} ${destination.workload}`),
    ['a b', 'a b', 'a b', 'a b'],
  )
  t.is(found[3]?.destination.ip, VIP)
  t.is(found[3]?.destination.endpoint, `${b.v4}:${PORT}`)
  t.is(await stage.driver.call('mapSize', 'weft_attest'), 0)
})

test.serial('what no rule names goes to the agent', async (t) => {
  t.is(await answererOf(b.ip, ECHO), `${b.ip}:${ECHO}`)
  await stage.driver.call('generation', { version: 6, services: [], verdicts: [] })
  t.is(await answererOf(b.ip, PORT), `${b.ip}:${PORT}`)
  const undecided = directTo(b, PORT, [verdict(PORT, 'agent'), verdict(0, 'allow')])
  await stage.driver.call('generation', undecided)
  t.is(await answererOf(b.ip, PORT), `${b.ip}:${PORT}`)
})

test.serial('the more specific verdict wins', async (t) => {
  const anyone = verdict(0, 'deny', 'b', '*')
  const cases: readonly [readonly WantedVerdict[], string][] = [
    [[anyone], 'ECONNREFUSED'],
    [[anyone, verdict(PORT, 'allow', 'b', '*')], 'b'],
    [[verdict(PORT, 'deny', 'b', '*'), verdict(0, 'allow')], 'b'],
    [[verdict(0, 'allow'), verdict(PORT, 'deny')], 'ECONNREFUSED'],
    [[verdict(PORT, 'allow', 'c')], `${b.ip}:${PORT}`],
  ]
  for (const [verdicts, answerer] of cases) {
    await stage.driver.call('generation', directTo(b, PORT, verdicts))
    t.is(await answererOf(b.ip, PORT), answerer, JSON.stringify(verdicts))
  }
})

test.serial('a denied connection is refused, counted and reported', async (t) => {
  await stage.driver.call('entries')
  const before = (await stage.driver.counters())['refused:policy-denied'] ?? 0
  await stage.driver.call('generation', directTo(b, PORT, [verdict(PORT, 'deny')], 9))
  t.is(await answererOf(b.ip, PORT), 'ECONNREFUSED')
  t.is((await stage.driver.counters())['refused:policy-denied'], before + 1)
  const [entry] = await entries(1)
  t.is(entry?.reason, 'policy-denied')
  t.is(entry?.flag, 'DENY')
  t.is(entry?.destination.endpoint, `${b.ip}:${PORT}`)
  t.is(entry?.version, 9)
})

test.serial('the direct path can be switched off', async (t) => {
  await stage.driver.call('generation', allowed(PORT))
  await stage.driver.call('configure', { unknown: 'refuse', directPath: false, workers: 4 })
  t.is(await answererOf(b.ip, PORT), `${b.ip}:${PORT}`)
  await stage.driver.call('configure', { unknown: 'refuse', directPath: true, workers: 4 })
  t.is(await answererOf(b.ip, PORT), 'b')
})

test.serial('bytes are counted exactly, whoever closes first', async (t) => {
  await stage.driver.call('entries')
  await stage.driver.call('generation', allowed(SINK))
  const bytes = 10_000_001
  const sent = await a.run(client('send', b.ip, SINK, { bytes }))
  await sent.finish()
  const answer = sent.report<{ ok: boolean; answer: string[] }>()
  t.true(answer.ok)
  const [closed] = await entries(1)
  t.is(closed?.sentBytes, bytes)
  t.is(closed?.receivedBytes, `${answer.answer.join(' ')}\n`.length)
  await stage.driver.call('generation', allowed(ECHO))
  t.true((await run(a, client('echo', b.ip, ECHO, { message: 'x', bytes: 5000 }))).ok)
  const [echoed] = await entries(1)
  t.is(echoed?.sentBytes, 5000)
  t.is(echoed?.receivedBytes, 5000)
})

test.serial('a reset by the client reaches the server', async (t) => {
  await stage.driver.call('generation', directTo(b, 7003, [verdict(7003, 'allow')]))
  const reader = await b.run(
    [
      PYTHON,
      '-uc',
      `import socket
s=socket.socket(); s.bind(("0.0.0.0", 7003)); s.listen(); print("listening", flush=True)
for _ in range(2):
    c,_a=s.accept(); c.settimeout(5); c.sendall(b"unread" * 100)
    try:
        while c.recv(65536): pass
        print("end", flush=True)
    except OSError as error: print(type(error).__name__, flush=True)`,
    ],
    { waitFor: 'listening' },
  )
  for (const linger of [true, false]) {
    await a.exec([
      PYTHON,
      '-c',
      `import socket,struct,time
s=socket.create_connection(("${b.ip}", 7003)); s.recv(1)
if ${linger ? 'True' : 'False'}: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
s.close()`,
    ])
  }
  await reader.finish()
  t.is(reader.stdout, 'listening\nConnectionResetError\nConnectionResetError\n')
})

test.serial('a call that lands on its own pod is judged and stays inside', async (t) => {
  const own = await a.run(server('identity', 7004, { name: 'own' }), { waitFor: 'listening' })
  const rules = (decision: WantedVerdict['verdict']) =>
    directTo(a, 7004, [verdict(7004, decision, 'a')], 1, { ip: VIP, port: 7004 })
  await stage.driver.call('generation', rules('allow'))
  t.is(await answererOf(VIP, 7004), 'own')
  await stage.driver.call('generation', rules('deny'))
  t.is(await answererOf(VIP, 7004), 'ECONNREFUSED')
  t.is(await stage.driver.call('mapSize', 'weft_attest'), 0)
  own.kill()
})

test.serial('a refused connection leaves no attestation and says why', async (t) => {
  await stage.driver.call('entries')
  await stage.driver.call('generation', allowed(7999))
  t.is((await run(a, client('connect', b.ip, 7999))).error, 'ECONNREFUSED')
  t.is((await entries(1))[0]?.reason, 'connect-failed')
  t.is(await stage.driver.call('mapSize', 'weft_attest'), 0)
})

test.serial('only the attested connection passes the lookup of its destination', async (t) => {
  await stage.driver.call('generation', allowed(PORT))
  const from = await stage.node.exec(client('banner', b.ip, PORT))
  t.is(JSON.parse(JSON.parse(from.stdout).banner).name, 'plaintext')
  const delivered = { uid: 'b', source: '192.0.2.9', address: b.ip, port: PORT }
  const answer = await stage.driver.call<string>('deliver', { ...delivered, mark: 0x111 })
  t.is(JSON.parse(answer).name, 'b')
  t.is(JSON.parse(answer).remote.ip, '192.0.2.9')
  // Unmarked connections of the agent are nobody's deliveries.
  await t.throwsAsync(stage.driver.call('deliver', delivered), { message: /TIMEDOUT|REFUSED/ })
  t.is(await stage.driver.call('mapSize', 'weft_attest'), 0)
})

test.serial('attestation survives SYN cookies', async (t) => {
  await b.setSysctls({ 'net.ipv4.tcp_syncookies': 2 })
  await stage.driver.call('generation', allowed(PORT))
  const many = await a.run(connectMany([{ host: b.ip, port: PORT, name: 'b' }], 400, 16))
  await many.finish()
  t.is(many.report<ManyReport>().ok, 400)
  t.is(await stage.driver.call('mapSize', 'weft_attest'), 0)
  await b.setSysctls({ 'net.ipv4.tcp_syncookies': 1 })
})

test.serial('a hook never mixes two generations', async (t) => {
  // Whoever takes the endpoint of one and the verdict of the other is refused.
  const generation = (chosen: Pod, other: Pod, version: number): WantedMaps =>
    directTo(
      chosen,
      PORT,
      [verdict(PORT, 'allow', chosen.name), verdict(PORT, 'deny', other.name)],
      version,
      { ip: VIP, port: PORT },
    )
  await stage.driver.call('generation', generation(b, c, 1))
  const many = await a.run(connectMany([{ host: VIP, port: PORT, name: 'b' }], load(4000), 32))
  for (let flip = 1; flip <= FLIPS; flip++) {
    const [chosen, other] = flip % 2 === 0 ? [b, c] : [c, b]
    await stage.driver.call('generation', generation(chosen, other, flip))
  }
  await many.finish(60_000)
  const report = many.report<ManyReport>()
  t.is(report.failed, 0, JSON.stringify(report.errors))
  t.is(report.ok + report.wrong, load(4000))
  t.true(report.wrong > 0, 'both generations were seen')
})

test.serial('denials come before permissions', async (t) => {
  await stage.driver.call('generation', allowed(PORT, 20))
  const denying = directTo(b, PORT, [verdict(PORT, 'deny')], 21, { ip: VIP, port: PORT })
  await stage.driver.call('denials', denying)
  t.is(await answererOf(b.ip, PORT), 'ECONNREFUSED')
  await stage.driver.call('generation', denying)
  // A new permission waits for applyGeneration.
  await stage.driver.call('denials', allowed(PORT, 22))
  t.is(await answererOf(b.ip, PORT), `${b.ip}:${PORT}`)
  await stage.driver.call('generation', allowed(PORT, 22))
  t.is(await answererOf(b.ip, PORT), 'b')
})

type Live = Omit<DirectConnection, 'socketCookie'> & { readonly socketCookie: string }

test.serial('live direct connections are listed, and ended with a reason', async (t) => {
  await stage.driver.call('entries')
  await stage.driver.call('generation', allowed(ECHO, 30))
  const toB = await a.run(hold(b.ip, ECHO, 5), { waitFor: 'held 5' })
  await stage.driver.call('generation', directTo(c, ECHO, [verdict(ECHO, 'allow', 'c')], 31))
  const toC = await a.run(hold(c.ip, ECHO, 3), { waitFor: 'held 3' })
  const live = await stage.driver.call<Live[]>('liveDirect')
  t.is(live.length, 8)
  const doomed = live.filter(({ destinationUid }) => destinationUid === 'b')
  t.deepEqual(
    doomed.map(({ sourceUid, destination, asked, version }) => ({
      sourceUid,
      destination,
      asked,
      version,
    })),
    Array.from({ length: 5 }, () => ({
      sourceUid: 'a',
      destination: { ip: b.ip, port: ECHO },
      asked: { ip: b.ip, port: ECHO },
      version: 30,
    })),
  )
  t.true(live.every(({ sentBytes, receivedBytes }) => sentBytes === 0 && receivedBytes === 0))
  t.true(live.every(({ startedNs, srttUs }) => BigInt(startedNs) > 0n && srttUs > 0))
  // Rounds and numbers of one digit: four bytes there and back on each.
  toB.write('ping\n')
  await toB.waitFor('"ok":5')
  const used = await stage.driver.call<Live[]>('liveDirect')
  t.deepEqual(
    used.map(({ destinationUid, sentBytes, receivedBytes }) => [
      destinationUid,
      sentBytes,
      receivedBytes,
    ]),
    live.map(({ destinationUid }) => [
      destinationUid,
      ...(destinationUid === 'b' ? [4, 4] : [0, 0]),
    ]),
  )
  const input = { connections: doomed, reason: 'policy-changed' }
  t.is(await stage.driver.call('endDirect', input), 5)
  t.deepEqual(
    (await entries(5)).map(({ reason }) => reason),
    Array.from({ length: 5 }, () => 'policy-changed'),
  )
  toB.write('ping\n')
  await toB.waitFor('"failed":5')
  toC.write('ping\n')
  await toC.waitFor('"ok":3')
  t.is((await stage.driver.call<Live[]>('liveDirect')).length, 3)
  for (const holder of [toB, toC]) holder.kill()
})

test.serial(
  'direct connections outlive the agent; captured ones are refused meanwhile',
  async (t) => {
    await stage.driver.call('generation', allowed(ECHO, 40))
    const held = await a.run(hold(b.ip, ECHO, 4), { waitFor: 'held 4' })
    await stage.replaceDriver()
    held.write('ping\n')
    await held.waitFor('"ok":4')
    t.true((await run(a, client('echo', b.ip, ECHO))).ok, 'new direct ones are judged as before')
    t.is(await answererOf('198.51.100.1', 80), 'ECONNREFUSED')
    await stage.begin()
    for (const pod of [b, a, c]) await stage.driver.enrol(pod)
    const live = await stage.driver.call<Live[]>('liveDirect')
    t.deepEqual(
      live.map(({ sourceUid, destinationUid }) => `${sourceUid} ${destinationUid}`),
      ['a b', 'a b', 'a b', 'a b'],
    )
    held.write('ping\n')
    await waitUntil(() => held.stdout.match(/"ok":4/g)?.length === 2, 'the second answer')
    held.kill()
  },
)

test.serial('a restart under load fails nothing, in whatever order workloads come', async (t) => {
  const rules = directTo(b, PORT, [verdict(PORT, 'allow'), verdict(PORT, 'deny', 'c')], 50)
  const both = { ...rules, services: [...rules.services, ...directTo(c, PORT, []).services] }
  await stage.driver.call('generation', both)
  const many = await a.run(connectMany([{ host: b.ip, port: PORT, name: 'b' }], load(6000), 16))
  for (let turn = 0; turn < 2; turn++) {
    await stage.replaceDriver()
    await stage.begin()
    for (const pod of turn === 0 ? [c, b, a] : [b, c, a]) await stage.driver.enrol(pod)
    await stage.driver.call('generation', {
      ...both,
      services: both.services.toReversed(),
      verdicts: both.verdicts.toReversed(),
    })
    t.is(await answererOf(c.ip, PORT), 'ECONNREFUSED')
  }
  await many.finish(60_000)
  const report = many.report<ManyReport>()
  t.is(report.ok, load(6000), JSON.stringify(report.errors))
})
