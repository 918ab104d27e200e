import type { ExecutionContext } from 'ava'
import test from 'ava'
import type { Pod } from '../lab/pod.ts'
import { client, connectMany, type ManyReport, PYTHON, server } from '../lab/programs.ts'
import { load, waitUntil } from '../lab/wait.ts'
import { Stage } from './stage.ts'

const OUTSIDE = '198.51.100.1'
const LOAD = process.env.WEFT_SOAK === '1' ? 200_000 : load(20_000)

let stage: Stage
let a: Pod
let b: Pod

interface Answer {
  readonly name: string
  readonly class: string
  readonly worker: number
  readonly local: string
  readonly getsockopt?: { readonly address: string; readonly port: number }
}

interface Report {
  readonly ok: boolean
  readonly error?: string
  readonly banner?: string
  readonly local?: readonly [string, number]
  readonly peer?: readonly [string, number]
}

async function run(pod: Pod, argv: readonly string[]): Promise<Report> {
  const { stdout } = await pod.exec(argv, { check: false })
  return JSON.parse(stdout) as Report
}

/** What the driver says to a client of the pod. */
async function ask(
  pod: Pod,
  host: string,
  port: number,
  options: Parameters<typeof client>[3] = {},
): Promise<Report & { answer: Answer }> {
  const report = await run(pod, client('banner', host, port, options))
  return { ...report, answer: JSON.parse(report.banner ?? '{}') as Answer }
}

async function idle(): Promise<void> {
  const done = async () => (await stage.driver.call<number[]>('live')).every((live) => live === 0)
  await waitUntil(done, 'no live connection of any worker')
}

test.before(async () => {
  stage = await Stage.open()
})

test.after.always(() => stage?.close())

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain())
})

test.serial('a program that starts before the agent is configured is refused', async (t) => {
  await stage.driver.call('start')
  a = await stage.node.pod('a')
  t.is((await run(a, client('connect', OUTSIDE, 80))).error, 'ECONNREFUSED')
  t.true(((await stage.driver.counters()).unconfigured ?? 0) > 0)
})

test.serial('an unknown workload is refused, or passes and is counted', async (t) => {
  const target = stage.node.addresses.gateway4
  const echo = await stage.node.run(server('identity', 4000, { name: 'node' }), {
    waitFor: 'listening',
  })
  await stage.driver.call('configure', { unknown: 'refuse', directPath: true, workers: 4 })
  t.is((await run(a, client('connect', target, 4000))).error, 'ECONNREFUSED')
  await stage.driver.call('configure', { unknown: 'pass', directPath: true, workers: 4 })
  t.true((await run(a, client('connect', target, 4000))).ok)
  const counters = await stage.driver.counters()
  t.is(counters['refused:not-enrolled'], 1)
  t.is(counters.unknown_passed, 1)
  await stage.driver.call('configure', { unknown: 'refuse', directPath: true, workers: 4 })
  await echo.stop()
  await stage.driver.enrol(a)
  b = await stage.pod('b')
})

async function isCaptured(t: ExecutionContext, host: string, options = {}): Promise<void> {
  const { ok, answer, peer } = await ask(a, host, 9000, options)
  t.true(ok, host)
  t.is(answer.class, 'outbound')
  const plain = host.replace('::ffff:', '')
  t.is(answer.name, plain.includes(':') ? `[${plain}]:9000` : `${plain}:9000`)
  t.deepEqual(answer.getsockopt, { address: plain, port: 9000 })
  t.deepEqual(peer?.slice(0, 2), [host, 9000], 'getpeername shows what was asked for')
}

test.serial('the original destination is recovered for every kind of socket', async (t) => {
  await isCaptured(t, OUTSIDE)
  await isCaptured(t, b.v4 ?? '')
  await isCaptured(t, b.v6 ?? '')
  await isCaptured(t, '2001:db8::7')
  await isCaptured(t, `::ffff:${OUTSIDE}`)
  await isCaptured(t, OUTSIDE, { bind: a.v4 })
  await isCaptured(t, OUTSIDE, { device: 'eth0' })
  t.true((await run(a, client('nonblocking', OUTSIDE, 9000, { message: 'x' }))).error === undefined)
})

test.serial('what stays in the pod is not captured', async (t) => {
  const own = await a.run(server('identity', 6000, { name: 'own' }), { waitFor: 'listening' })
  for (const host of ['127.0.0.1', '::1', '0.0.0.0', a.v4 ?? '', a.v6 ?? '']) {
    const { answer } = await ask(a, host, 6000)
    t.is(answer.name, 'own', host)
  }
  await own.stop()
})

test.serial(
  'plaintext and tunnels from outside reach a worker with their address kept',
  async (t) => {
    for (const [port, kind] of [
      [8080, 'plaintext'],
      [15008, 'hbone'],
    ] as const) {
      for (const host of b.addresses) {
        const { stdout } = await stage.node.exec(client('banner', host, port), { check: false })
        const answer = JSON.parse(JSON.parse(stdout).banner) as Answer
        t.is(answer.name, kind)
        t.true(answer.local.endsWith(`:${port}`))
      }
    }
  },
)

test.serial('the virtual capture ports are closed to others', async (t) => {
  for (const port of [15_101, 15_132]) {
    const { stdout } = await stage.node.exec(client('connect', b.ip, port), { check: false })
    t.is((JSON.parse(stdout) as Report).error, 'ECONNREFUSED')
  }
  t.is((await stage.driver.counters()).capture_foreign, 2)
})

test.serial('under load no origin is wrong, workers share evenly, nothing remains', async (t) => {
  const before = await stage.driver.call<Record<string, number>>('accepted')
  const destinations = [OUTSIDE, '203.0.113.9', b.v4 ?? '', b.v6 ?? ''].map((host, index) => ({
    host,
    port: 9000 + index,
    name: host.includes(':') ? `[${host}]:${9000 + index}` : `${host}:${9000 + index}`,
  }))
  const many = await a.run(connectMany(destinations, LOAD, 64))
  await many.finish(120_000)
  const report = many.report<ManyReport>()
  t.is(report.wrong, 0)
  t.is(report.failed, 0, JSON.stringify(report.errors))
  t.is(report.ok, LOAD)
  const after = await stage.driver.call<Record<string, number>>('accepted')
  const shares = [0, 1, 2, 3].map((worker) => {
    const key = `outbound ${worker}`
    return (after[key] ?? 0) - (before[key] ?? 0)
  })
  const mean = LOAD / 4
  t.true(Math.max(...shares) / mean < 1.1, `shares ${shares}`)
  t.true(Math.min(...shares) / mean > 0.9, `shares ${shares}`)
  await idle()
  t.is(await stage.driver.call('mapSize', 'weft_origins'), 0)
  t.is(await stage.driver.call('mapSize', 'weft_attest'), 0)
  t.is((await stage.driver.counters()).origin_missing, undefined)
})

test.serial('held connections are spread exactly', async (t) => {
  await stage.driver.call('manner', 'hold')
  const holder = await a.run(
    [
      PYTHON,
      '-uc',
      `import socket,sys
held=[socket.create_connection(("${OUTSIDE}", 80)) for _ in range(400)]
print("held", flush=True); sys.stdin.read()`,
    ],
    { waitFor: 'held' },
  )
  t.deepEqual((await stage.driver.call<number[]>('live')).slice(0, 4), [100, 100, 100, 100])
  holder.kill()
  await idle()
  await stage.driver.call('manner', 'answer')
})

test.serial('handshakes survive SYN cookies on every connection', async (t) => {
  await a.setSysctls({ 'net.ipv4.tcp_syncookies': 2 })
  await b.setSysctls({ 'net.ipv4.tcp_syncookies': 2 })
  const many = await a.run(
    connectMany([{ host: OUTSIDE, port: 80, name: `${OUTSIDE}:80` }], 400, 16),
  )
  await many.finish()
  t.is(many.report<ManyReport>().ok, 400)
  const inbound = await stage.node.run(
    connectMany([{ host: b.ip, port: 15_008, name: 'hbone' }], 400, 16),
  )
  await inbound.finish()
  t.is(inbound.report<ManyReport>().ok, 400)
  await idle()
  t.is(await stage.driver.call('mapSize', 'weft_choices'), 0)
  for (const pod of [a, b]) await pod.setSysctls({ 'net.ipv4.tcp_syncookies': 1 })
})

test.serial('a silenced worker gets nothing, a revived one its share', async (t) => {
  const share = async (): Promise<number> => {
    const before = await stage.driver.call<Record<string, number>>('accepted')
    const target = { host: OUTSIDE, port: 80, name: `${OUTSIDE}:80` }
    const many = await a.run(connectMany([target], 400, 8))
    await many.finish()
    t.is(many.report<ManyReport>().ok, 400)
    const after = await stage.driver.call<Record<string, number>>('accepted')
    return (after['outbound 1'] ?? 0) - (before['outbound 1'] ?? 0)
  }
  await stage.driver.call('silence', 1)
  t.is(await share(), 0)
  const revived = await stage.driver.call<{ uid: string }[]>('revive', 1)
  t.deepEqual(revived.map(({ uid }) => uid).sort(), ['a', 'b'])
  t.true((await share()) > 50)
})

test.serial('without a worker a captured connection is refused at once', async (t) => {
  for (const worker of [0, 1, 2, 3]) await stage.driver.call('silence', worker)
  for (const host of [OUTSIDE, b.v6 ?? '']) {
    t.is((await run(a, client('connect', host, 80))).error, 'ECONNREFUSED')
    t.is((await run(a, client('nonblocking', host, 80))).error, 'ECONNREFUSED')
  }
  const { stdout } = await stage.node.exec(client('connect', b.ip, 8080), { check: false })
  t.is((JSON.parse(stdout) as Report).error, 'ECONNREFUSED')
  for (const worker of [0, 1, 2, 3]) await stage.driver.call('revive', worker)
  t.true((await ask(a, OUTSIDE, 80)).ok)
})

test.serial('a pod without an address of the family is told that there is no way', async (t) => {
  const v4 = await stage.pod('v4', { v6: false })
  const v6 = await stage.pod('v6', { v4: false })
  t.is((await run(v4, client('connect', '2001:db8::7', 80))).error, 'ENETUNREACH')
  t.is((await run(v6, client('connect', OUTSIDE, 80))).error, 'ENETUNREACH')
  t.true((await ask(v4, OUTSIDE, 80)).ok)
  t.true((await ask(v6, '2001:db8::7', 80)).ok)
  const off = await stage.pod('off', {
    v6: false,
    sysctls: { 'net.ipv6.conf.all.disable_ipv6': '1' },
  })
  t.true((await ask(off, OUTSIDE, 80)).ok)
})

test.serial('counters are 0 again after resets, and after the agent was killed', async (t) => {
  await stage.driver.call('manner', 'hold')
  for (let turn = 0; turn < 20; turn++) await a.exec(client('reset', OUTSIDE, 80))
  await idle()
  const holder = await a.run(
    [
      PYTHON,
      '-uc',
      `import socket,sys
held=[socket.create_connection(("${OUTSIDE}", 80)) for _ in range(50)]
print("held", flush=True); sys.stdin.read()`,
    ],
    { waitFor: 'held' },
  )
  await stage.replaceDriver()
  t.is((await run(a, client('connect', OUTSIDE, 80))).error, 'ECONNREFUSED')
  await stage.begin()
  await idle()
  holder.kill()
  await stage.driver.enrol(a)
  t.true((await ask(a, OUTSIDE, 80)).ok)
  await idle()
  t.is(await stage.driver.call('mapSize', 'weft_origins'), 0)
})
