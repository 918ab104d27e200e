// What the admin API, `weft top` and `weft status` tell of real agents and real connections: every
// connection once, its bytes to the byte, while it is open and when it is over.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { AdminClient } from '../../src/admin/client.ts'
import type { Connections, FlowShown } from '../../src/admin/shapes.ts'
import { authorizationPolicy, service } from '../lab/mesh-config.ts'
import type { Pod } from '../lab/pod.ts'
import { client, hold, nodeEcho, udpEcho, udpSend } from '../lab/programs.ts'
import { waitUntil } from '../lab/wait.ts'
import { call, Held, Mesh, principal, serve, servicePort, spiffe } from '../mesh/mesh.ts'

const WEFT = fileURLToPath(new URL('../../bin/weft.mjs', import.meta.url))
const ECHO = 8080
/** The address of a service of datagrams. */
const CLOCK = '10.96.9.123'

let mesh: Mesh
let caller: Pod
let near: Pod
let shy: Pod
let far: Pod
let closed: Pod

test.before(async () => {
  mesh = await Mesh.open()
  const { one, two, lab } = mesh
  caller = await mesh.pod(one, 'caller')
  near = await mesh.pod(one, 'near')
  shy = await mesh.pod(one, 'shy')
  far = await mesh.pod(two, 'far')
  closed = await mesh.pod(two, 'closed')
  const action = 'DENY'
  const rules = [{ from: [{ source: { principals: [principal(caller)] } }] }]
  const selector = { matchLabels: { app: 'closed' } }
  lab.config.write('services.yaml', [
    mesh.service('near', { app: 'near' }, [ECHO], 'tcp'),
    mesh.service('shy', { app: 'shy' }, [ECHO]),
    mesh.service('far', { app: 'far' }, [ECHO]),
    mesh.service('closed', { app: 'closed' }, [ECHO]),
    service('clock', {
      selector: { app: 'near' },
      clusterIPs: [CLOCK],
      ports: [{ name: 'udp-clock', port: 123, targetPort: 9998, protocol: 'UDP' }],
    }),
    authorizationPolicy('closed', 'default', { selector, action, rules }),
  ])
  await mesh.start()
  await Promise.all([near, shy, far, closed].map((pod) => serve(pod, nodeEcho(ECHO))))
})

test.after.always(() => mesh?.close())

const states = (): readonly string[] => mesh.agents.map(({ stateDirectory }) => stateDirectory)
const admin = (at: 0 | 1): AdminClient => new AdminClient(states()[at] ?? '')
const vip = (pod: Pod): string => mesh.vip(pod.name).v4
const to = (told: Connections, name: string): FlowShown | undefined =>
  told.flows.find(({ destination }) => destination.workload === name)

/** What node `at` tells, once `isThere` holds of it. */
function told(
  at: 0 | 1,
  what: string,
  isThere: (now: Connections) => boolean,
): Promise<Connections> {
  return waitUntil(async () => {
    const now = await admin(at).connections({ live: true })
    return isThere(now) ? now : undefined
  }, what)
}

const counts = (flow: FlowShown | undefined) =>
  flow && [flow.path, flow.open, flow.opened, flow.sentBytes, flow.receivedBytes]

test.serial('open connections are told with the bytes they have carried, each once', async (t) => {
  const held: readonly (readonly [Held, Pod])[] = [
    [await Held.open(caller, vip(far), servicePort(ECHO), 3), far],
    [await Held.open(caller, vip(near), servicePort(ECHO), 2), near],
    [await Held.open(caller, vip(shy), servicePort(ECHO), 2), shy],
  ]
  // Each round is four bytes there and four back, on every connection.
  for (const [each] of held) t.is((await each.use()).failed, 0)
  const isSettled = (now: Connections): boolean =>
    [far, near, shy].every(({ name }) => (to(now, name)?.receivedBytes ?? 0) >= 8)
  const one = await told(0, 'what node one carries', isSettled)
  t.deepEqual(counts(to(one, 'far')), ['tunnel', 3, 3, 12, 12])
  t.deepEqual(counts(to(one, 'near')), ['direct', 2, 2, 8, 8])
  t.deepEqual(counts(to(one, 'shy')), ['tunnel', 2, 2, 8, 8])
  t.is(one.flows.length, 3, 'the far ends of tunnels within the node are not told again')
  t.is(one.live?.length, 7)
  t.is(one.liveLeftOut, 0)
  t.like(to(one, 'far'), {
    direction: 'outbound',
    source: { workload: 'caller', node: 'one', identity: spiffe(caller) },
    destination: {
      node: 'two',
      port: servicePort(ECHO),
      service: 'far.default.svc.cluster.local',
      identity: spiffe(far),
    },
  })
  t.like(to(one, 'near'), {
    source: { identity: spiffe(caller) },
    destination: { service: 'near.default.svc.cluster.local', identity: spiffe(near) },
  })
  for (const name of ['far', 'near', 'shy']) {
    t.true(
      to(one, name)?.latency.some((count) => count > 0),
      name,
    )
  }
  const two = await told(1, 'what node two carries', (now) => to(now, 'far')?.sentBytes === 12)
  t.deepEqual(counts(to(two, 'far')), ['tunnel', 3, 3, 12, 12])
  t.like(to(two, 'far'), { direction: 'inbound', source: { identity: spiffe(caller) } })

  await held[0]?.[0].use()
  await told(0, 'the second round', (now) => to(now, 'far')?.sentBytes === 24)
  for (const [each] of held) await each.close()
  const isOver = (now: Connections): boolean => now.flows.every(({ open }) => open === 0)
  const over = await told(0, 'the end of all', isOver)
  t.deepEqual(counts(to(over, 'far')), ['tunnel', 0, 3, 24, 24])
  t.deepEqual(counts(to(over, 'near')), ['direct', 0, 2, 8, 8])
  t.deepEqual(counts(to(over, 'shy')), ['tunnel', 0, 2, 8, 8])
  t.deepEqual(over.live, [])
})

test.serial('what is refused is counted with its reason', async (t) => {
  for (let at = 0; at < 3; at++) {
    const report = await call(caller, client('echo', vip(closed), servicePort(ECHO)))
    t.false(report.ok)
  }
  const one = await told(0, 'the refusals', (now) => (to(now, 'closed')?.opened ?? 0) >= 3)
  t.like(to(one, 'closed'), { open: 0, opened: 3, failed: { 'policy-denied': 3 } })
  t.is(to(one, 'closed')?.sentBytes, 0)
})

test.serial(
  'datagrams for a service of this node reach it, under its address, and are counted',
  async (t) => {
    await serve(near, udpEcho(9998))
    for (const isConnected of [false, true]) {
      const { stdout } = await caller.exec(udpSend(CLOCK, 123, 'x', isConnected))
      t.deepEqual(JSON.parse(stdout), { ok: true, from: { ip: CLOCK, port: 123 } })
    }
    t.is((await admin(0).status()).counters.weft_udp_direct_total, 2)
  },
)

test.serial('status, workloads and certificates are those of the agent', async (t) => {
  await serve(far, udpEcho(9999))
  await caller.exec(udpSend(far.ip, 9999, 'x'))
  const status = await admin(0).status()
  t.like(status, {
    node: 'one',
    config: { state: 'in-force', issues: [] },
    workers: { wanted: 2, alive: [0, 1] },
    workloads: { local: 3, enrolled: 3, known: 5 },
  })
  t.true((status.counters.weft_udp_passthrough_total ?? 0) > 0)
  t.true((status.counters.weft_direct_total ?? 0) >= 2)
  t.is(status.kernel.forms.guard, 'tcx')
  const { workloads, leftOut } = await admin(0).workloads()
  t.deepEqual(workloads.map(({ name }) => name).sort(), ['caller', 'near', 'shy'])
  t.is(leftOut, 2)
  const [found] = workloads.filter(({ name }) => name === 'near')
  t.like(found, { enrolled: true, network: 'pod', identity: spiffe(near), listening: [ECHO] })
  t.is((await admin(0).workloads({ all: true })).workloads.length, 5)
  const { certificates } = await admin(0).certificates()
  t.deepEqual(
    certificates.map(({ identity, state }) => [identity, state]),
    [caller, near, shy].map((pod) => [spiffe(pod), 'valid']),
  )
  for (const { notBefore = '', renewAt = '', notAfter = '' } of certificates) {
    t.true(notBefore < renewAt && renewAt < notAfter)
  }
  t.is(statSync(join(states()[0] ?? '', 'admin.sock')).mode & 0o777, 0o600)
})

async function weft(...args: readonly string[]) {
  const child = spawn(process.execPath, [WEFT, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let err = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text
  })
  const [code] = (await once(child, 'close')) as [number]
  return { code, out, err }
}

const stateFlags = (): readonly string[] => states().flatMap((state) => ['--state', state])

test.serial('`weft top` prints one table of both nodes where there is no terminal', async (t) => {
  const held = await Held.open(caller, vip(far), servicePort(ECHO), 2)
  const { code, out, err } = await weft('top', '--interval', '0.3', ...stateFlags())
  t.is(code, 0, err)
  t.false(out.includes('\x1b'))
  const lines = out.trimEnd().split('\n')
  t.regex(lines[0] ?? '', /^weft top - nodes one \(up .*\), two \(up .*\)$/)
  const row = (name: string) => lines.filter((line) => line.includes(` ${name}.default:`))
  t.is(row('far').length, 1, out)
  t.regex(row('far')[0] ?? '', /default\/caller +far\.default:7080 +default\/far +tunnel/)
  t.regex(row('far')[0] ?? '', /default\/caller +default\/far +2 +5 +0 +0 /)
  t.regex(row('near')[0] ?? '', / direct /)
  t.regex(row('closed')[0] ?? '', /3 policy-denied$/)
  await held.close()
})

/** `weft top` on a terminal of 100 columns and 20 lines; `keys` are typed once enough is seen. */
async function onTerminal(
  t: ExecutionContext,
  isSeen: (text: string) => boolean,
  keys: string,
  env: Readonly<Record<string, string>>,
) {
  const top = [process.execPath, WEFT, 'top', '--interval', '0.3', ...stateFlags()]
  const command = `stty cols 100 rows 20; exec ${top.map((word) => `'${word}'`).join(' ')}`
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...process.env, TERM: 'xterm', NO_COLOR: '', ...env },
  })
  let seen = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    seen += text
  })
  const ended = once(child, 'close')
  t.teardown(() => void child.kill('SIGKILL'))
  await waitUntil(() => isSeen(seen), 'the view on the terminal')
  child.stdin.write(keys)
  const [code] = (await ended) as [number]
  return { code, seen }
}

test.serial('on a terminal it redraws a screen of its own, and gives it back', async (t) => {
  const isDrawnTwice = (text: string): boolean => text.split('OUT B/s').length > 2
  const { code, seen } = await onTerminal(t, isDrawnTwice, 'q', {})
  t.is(code, 0, seen)
  t.true(seen.startsWith('\x1b[?1049h\x1b[?25l'), seen.slice(0, 40))
  t.true(seen.endsWith('\x1b[?25h\x1b[?1049l'), seen.slice(-40))
  t.true(seen.includes('\x1b[1m'), 'colours')
  t.regex(seen, /default\/caller +far\.default:7080/)
  const frames = seen.split('\x1b[H').map(stripVTControlCharacters)
  t.true(frames.length > 2)
  for (const line of frames.flatMap((frame) => frame.split('\n'))) {
    t.true(line.trimEnd().length <= 100, line)
  }
  const pale = await onTerminal(t, (text) => text.includes('OPEN'), 'p\x03', { NO_COLOR: '1' })
  t.is(pale.code, 0)
  t.regex(pale.seen, /PAUSED/)
  for (const style of [1, 2, 7, 31, 33]) t.false(pale.seen.includes(`\x1b[${style}m`))
  t.true(pale.seen.endsWith('\x1b[?25h\x1b[?1049l'))
})

test.serial('without an agent it says so; of several it shows those that answer', async (t) => {
  const nowhere = join(mesh.lab.directory, 'nowhere')
  const [top, bad, some, status] = await Promise.all([
    weft('top', '--state', nowhere),
    weft('status', '--state', nowhere),
    weft('top', '--interval', '0.2', '--state', nowhere, ...stateFlags()),
    weft('status', ...stateFlags()),
  ])
  for (const { code, out, err } of [top, bad]) {
    t.is(code, 1)
    t.is(out, '')
    t.regex(err, new RegExp(`^weft: no agent answers in ${nowhere}: start one with .weft up.`))
  }
  t.is(some.code, 0)
  t.true(some.out.includes(`no agent answers in ${nowhere}`))
  t.true(some.out.includes('far.default:7080'))
  t.is(status.code, 0)
  t.regex(status.out, /^one: weft .*\n {2}configuration {2}version \d+ is in force/)
  t.regex(status.out, /^two: weft /m)
})

test.serial('an agent that starts again beside its own dead socket serves it anew', async (t) => {
  const [agent] = mesh.agents
  await agent.kill()
  await t.throwsAsync(admin(0).status(), { code: 'admin.unreachable' })
  await agent.start()
  t.is((await admin(0).status()).pid, agent.pid)
  // What was open directly lives on without the agent, and is told again.
  await mesh.enrolled(caller, near, shy)
  const held = await caller.run(hold(vip(near), servicePort(ECHO), 2), { waitFor: 'held 2' })
  const now = await told(0, 'the direct ones', (each) => to(each, 'near')?.open === 2)
  t.is(to(now, 'near')?.opened, 2)
  held.kill()
})
