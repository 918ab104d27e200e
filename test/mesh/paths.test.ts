// Every way a connection can take, between unmodified programs: what they see, what the access log
// says, and that the wire between the nodes shows none of it.
import { randomBytes } from 'node:crypto'
import test, { type ExecutionContext } from 'ava'
import type { Capture } from '../lab/capture.ts'
import { meshConfig, peerAuthentication, service } from '../lab/mesh-config.ts'
import type { Pod } from '../lab/pod.ts'
import * as programs from '../lab/programs.ts'
import { call, Mesh, plainIp, type Report, seenBy, serve, servicePort, spiffe } from './mesh.ts'

const ECHO = 7000
const IDENTITY = 7001
const BANNER = 7002
const RESET = 7003
const EARLY = 7004
const CLOSED = 7005 // nobody listens there

/** Part of every message within the mesh; `OPEN` of those that leave it on purpose. */
const SECRET = `secret-${randomBytes(8).toString('hex')}`
const OPEN = `open-${randomBytes(8).toString('hex')}`
const MESSAGE = `${SECRET} ${'.'.repeat(40)}`

let mesh: Mesh
let capture: Capture
let caller: Pod
/** On the caller's node, ports declared TCP: the kernel connects the two. */
let near: Pod
/** On the caller's node, ports not declared: a tunnel within the node. */
let shy: Pod
let far: Pod
/** On the other node, without IPv4. */
let six: Pod
/** A second endpoint of `pair` beside `far`, where nobody listens. */
let idle: Pod
let locked: Pod // in a namespace that is STRICT

const calls: { from: Pod; host: string; port: number; report: Report }[] = []

function virtual(name: string, selector: Record<string, string>, protocol?: 'tcp') {
  return mesh.service(name, selector, [ECHO, IDENTITY, BANNER, RESET, EARLY, CLOSED], protocol)
}

function servers(pod: Pod): Promise<unknown> {
  return serve(
    pod,
    programs.server('echo', ECHO),
    programs.server('identity', IDENTITY, { name: `${SECRET} ${pod.name}` }),
    programs.server('banner', BANNER, { banner: `220 ${SECRET} ${pod.name}` }),
    programs.server('reset', RESET),
    programs.server('early', EARLY, { banner: SECRET }),
  )
}

async function tell(
  from: Pod,
  mode: Parameters<typeof programs.client>[0],
  host: string,
  port: number,
  options: programs.ClientOptions = {},
): Promise<Report> {
  const argv = programs.client(mode, host, port, { message: MESSAGE, ...options })
  const report = await call(from, argv)
  calls.push({ from, host, port, report })
  return report
}

test.before(async () => {
  mesh = await Mesh.open()
  const { one, two, lab } = mesh
  capture = await lab.capture()
  caller = await mesh.pod(one, 'caller')
  near = await mesh.pod(one, 'near')
  shy = await mesh.pod(one, 'shy')
  far = await mesh.pod(two, 'far', { labels: { app: 'far', pair: 'yes' } })
  six = await mesh.pod(two, 'six', { v4: false })
  idle = await mesh.pod(two, 'idle', { labels: { app: 'idle', pair: 'yes' } })
  locked = await mesh.pod(two, 'locked', { namespace: 'locked' })
  lab.config.write('services.yaml', [
    virtual('near', { app: 'near' }, 'tcp'),
    virtual('shy', { app: 'shy' }),
    virtual('far', { app: 'far' }, 'tcp'),
    virtual('six', { app: 'six' }),
    virtual('pair', { pair: 'yes' }),
    service('headless', {
      selector: { app: 'far' },
      clusterIPs: ['None'],
      ports: [{ name: 'identity', port: IDENTITY }],
    }),
    peerAuthentication('default', 'locked', { mtls: { mode: 'STRICT' } }),
  ])
  await mesh.start()
  await Promise.all([near, shy, far, six, locked].map(servers))
})

test.after.always(() => mesh?.close())

interface Way {
  readonly name: string
  readonly to: () => Pod
  readonly path: 'tunnel' | 'direct'
  /** A source port of its own: a closed one rests for a minute. */
  readonly bindPort: number
}

const WAYS: readonly Way[] = [
  { name: 'a tunnel between nodes', to: () => far, path: 'tunnel', bindPort: 23_450 },
  { name: 'a tunnel within the node', to: () => shy, path: 'tunnel', bindPort: 23_451 },
  { name: 'the direct path', to: () => near, path: 'direct', bindPort: 23_452 },
]

interface Family {
  readonly name: string
  readonly of: (address: { v4?: string | undefined; v6?: string | undefined }) => string
}

const FAMILIES: readonly Family[] = [
  { name: 'IPv4', of: ({ v4 = '' }) => v4 },
  { name: 'IPv6', of: ({ v6 = '' }) => v6 },
  { name: 'a v4-mapped socket', of: ({ v4 = '' }) => `::ffff:${v4}` },
]

for (const way of WAYS) {
  for (const family of FAMILIES) {
    test(`${way.name} over ${family.name} is the program's own connection to both ends`, async (t) => {
      const to = way.to()
      const asked = family.of(mesh.vip(to.name))
      const report = await tell(caller, 'banner', asked, servicePort(IDENTITY))
      t.true(report.ok, JSON.stringify(report))
      t.deepEqual(report.peer, [asked, servicePort(IDENTITY)], 'getpeername tells what was asked')
      const seen = seenBy(report)
      t.is(seen.name, `${SECRET} ${to.name}`)
      const isV6 = family.name === 'IPv6'
      t.is(seen.remote.ip, (isV6 ? caller.v6 : caller.v4) ?? '', 'the server sees the caller')
      t.deepEqual(seen.local, { ip: (isV6 ? to.v6 : to.v4) ?? '', port: IDENTITY })
      const isUnproxied = seen.remote.port === report.local?.[1]
      t.is(isUnproxied, way.path === 'direct', 'the same socket pair at both ends, or not')
      await entryIsRight(t, way, to, plainIp(asked), report)
    })
  }

  test(`${way.name} lets either side speak and finish first`, async (t) => {
    const to = way.to()
    const host = mesh.vip(to.name).v4
    const bytes = 700_000
    t.like(await tell(caller, 'echo', host, servicePort(ECHO)), { ok: true })
    const greeted = await tell(caller, 'banner', host, servicePort(BANNER))
    t.like(greeted, { ok: true, banner: `220 ${SECRET} ${to.name}` })
    t.like(await tell(caller, 'half-close', host, servicePort(ECHO), { bytes }), { ok: true })
    const late = await tell(caller, 'late', host, servicePort(EARLY))
    t.like(late, { ok: true, banner: SECRET })
    const entry = await mesh.outbound(late)
    t.is(entry.sentBytes, MESSAGE.length, 'what was sent after the server had finished')
    t.is(entry.receivedBytes, SECRET.length + 1)
    t.is(entry.reason, 'completed')
  })

  test(`${way.name} serves connects that do not wait, and bound sockets`, async (t) => {
    const to = way.to()
    const { v4, v6 } = mesh.vip(to.name)
    t.like(await tell(caller, 'nonblocking', v4, servicePort(ECHO)), { ok: true })
    t.like(await tell(caller, 'nonblocking', v6, servicePort(ECHO)), { ok: true })
    const bind = caller.v4 ?? ''
    const bound = { bind, bindPort: way.bindPort, device: 'eth0' }
    const report = await tell(caller, 'echo', v4, servicePort(ECHO), bound)
    t.like(report, { ok: true, local: [bind, way.bindPort] })
  })

  test(`${way.name} passes resets on`, async (t) => {
    const to = way.to()
    const { v4 } = mesh.vip(to.name)
    const byServer = await tell(caller, 'echo', v4, servicePort(RESET))
    t.like(byServer, { ok: false, error: 'ECONNRESET' })
    const [entry] = await mesh.waitForEntries(
      ({ direction, destination }) =>
        direction === 'outbound' &&
        destination.ip === v4 &&
        destination.port === servicePort(RESET),
      1,
      'the reset',
    )
    t.like(entry, { path: way.path, reason: 'upstream-reset' })
    const [echo] = await serve(to, programs.server('echo', 7010))
    // The pod's own address: this port belongs to no service.
    const byClient = await tell(caller, 'reset', to.ip, 7010)
    t.true(byClient.ok)
    await t.notThrowsAsync(echo?.waitFor('error ConnectionResetError') ?? Promise.reject())
    await echo?.stop()
  })

  test(`${way.name} says when nobody listens`, async (t) => {
    const report = await tell(caller, 'echo', mesh.vip(way.to().name).v4, servicePort(CLOSED))
    // A tunnel's client is connected before its server is asked.
    const error = way.path === 'direct' ? 'ECONNREFUSED' : 'ECONNRESET'
    t.like(report, { ok: false, error })
  })
}

async function entryIsRight(
  t: ExecutionContext,
  way: Way,
  to: Pod,
  asked: string,
  report: Report,
): Promise<void> {
  const entry = await mesh.outbound(report)
  t.like(entry, { path: way.path, reason: 'completed', flag: '-' })
  t.like(entry.source, { workload: 'caller', namespace: 'default' })
  t.like(entry.destination, {
    ip: asked,
    port: servicePort(IDENTITY),
    workload: to.name,
    service: `${to.name}.default.svc.cluster.local`,
    identity: spiffe(to),
  })
  t.is(entry.receivedBytes, (report.banner ?? '').length + 1)
  if (way.path === 'direct') {
    t.is(entry.source.identity, spiffe(caller), 'the kernel attests it')
    return
  }
  await mesh.waitForEntries(
    ({ direction, source, destination }) =>
      direction === 'inbound' &&
      source.identity === spiffe(caller) &&
      destination.workload === to.name &&
      destination.port === IDENTITY,
    1,
    `what ${to.name} accepted from a proven caller`,
  )
}

test('a pod without IPv4 calls and is called', async (t) => {
  const inward = await tell(caller, 'banner', mesh.vip('six').v6, servicePort(IDENTITY))
  t.is(seenBy(inward).remote.ip, caller.v6 ?? '')
  const outward = await tell(six, 'banner', mesh.vip('near').v6, servicePort(IDENTITY))
  t.is(seenBy(outward).remote.ip, six.v6 ?? '')
  t.like(await mesh.outbound(outward), { path: 'tunnel', reason: 'completed' })
})

test('a service calls itself, by its virtual and by its own address', async (t) => {
  const viaAgent = await tell(shy, 'banner', mesh.vip('shy').v4, servicePort(IDENTITY))
  t.is(seenBy(viaAgent).remote.ip, shy.ip)
  t.like(await mesh.outbound(viaAgent), { path: 'self', reason: 'completed' })
  const direct = await tell(near, 'banner', mesh.vip('near').v4, servicePort(IDENTITY))
  t.is(seenBy(direct).remote.ip, near.ip)
  t.like(await mesh.outbound(direct), { path: 'direct', reason: 'completed' })
  for (const pod of [shy, near, far]) {
    for (const address of [...pod.addresses, '127.0.0.1', '::1']) {
      const own = await call(pod, programs.client('banner', address, IDENTITY))
      t.is(seenBy(own).name, `${SECRET} ${pod.name}`, address)
      t.is(seenBy(own).remote.port, own.local?.[1] ?? 0, 'untouched')
    }
  }
})

test('an endpoint of a headless service is called at its own address', async (t) => {
  const report = await tell(caller, 'banner', far.ip, IDENTITY)
  t.like(report.peer, [far.ip, IDENTITY])
  t.like(await mesh.outbound(report), { path: 'tunnel', destination: { workload: 'far' } })
})

test('another endpoint is tried when one refuses', async (t) => {
  const reports: Report[] = []
  for (let at = 0; at < 24; at++) {
    reports.push(await tell(caller, 'banner', mesh.vip('pair').v4, servicePort(IDENTITY)))
  }
  t.true(reports.every((report) => report.ok && seenBy(report).name.endsWith('far')))
  const entries = await Promise.all(reports.map((report) => mesh.outbound(report)))
  const attempts = new Set(entries.map((entry) => entry.attempts))
  t.deepEqual([...attempts].sort(), [1, 2])
  t.true(entries.every(({ reason }) => reason === 'completed'))
  // The pod without a listener was asked; what it refused is in its own agent's log.
  const refused = mesh.entries(({ destination }) => destination.workload === idle.name)
  t.true(refused.length > 0 && refused.every(({ reason }) => reason === 'connect-failed'))
})

test('unmodified tools of others work: curl and nginx, socat, nc', async (t) => {
  const page = `${SECRET}\n`
  const config = `daemon off; error_log stderr; pid /dev/null; events {} http { access_log off;
    server { listen [::]:8080 ipv6only=off; return 200 "${SECRET}\\n"; } }`
  await far.run([
    'sh',
    '-c',
    'printf %s "$1" > "$2"; exec nginx -c "$2"',
    'sh',
    config,
    `${mesh.lab.directory}/nginx.conf`,
  ])
  await far.waitForPort(8080)
  for (const host of [far.v4 ?? '', `[${far.v6}]`]) {
    const { stdout } = await caller.exec([
      'curl',
      '-sS',
      '--max-time',
      '10',
      `http://${host}:8080/`,
    ])
    t.is(stdout, page)
  }
  const { stdout } = await caller.exec(
    ['socat', '-', `TCP:${mesh.vip('far').v4}:${servicePort(ECHO)}`],
    {
      input: page,
    },
  )
  t.is(stdout, page)
  const nc = await caller.exec(
    ['nc', '-N', '-w', '10', mesh.vip('far').v4, String(servicePort(ECHO))],
    {
      input: page,
    },
  )
  t.is(nc.stdout, page)
})

test('what is outside the mesh is reached in plain text, and refused under REGISTRY_ONLY', async (t) => {
  const outside = await mesh.two.run(programs.server('identity', 7020, { name: OPEN }), {
    waitFor: programs.LISTENING,
  })
  for (const host of [mesh.two.ip, mesh.two.addresses.v6]) {
    const report = await tell(caller, 'banner', host, 7020)
    t.is(seenBy(report).name, OPEN)
    t.is(seenBy(report).remote.ip, (host.includes(':') ? caller.v6 : caller.v4) ?? '')
    t.like(await mesh.outbound(report), { path: 'passthrough', reason: 'completed' })
  }
  await mesh.apply('mesh.yaml', [meshConfig({ outboundTrafficPolicy: 'REGISTRY_ONLY' })])
  const refused = await tell(caller, 'banner', mesh.two.ip, 7020)
  t.false(refused.ok)
  const [entry] = await mesh.waitForEntries(
    ({ reason, destination }) => reason === 'outbound-refused' && destination.port === 7020,
    1,
    'the refusal',
  )
  t.like(entry?.source, { workload: 'caller' })
  t.like(await tell(caller, 'echo', mesh.vip('far').v4, servicePort(ECHO)), { ok: true })
  await mesh.remove('mesh.yaml')
  t.like(await tell(caller, 'banner', mesh.two.ip, 7020), { ok: true })
  await outside.stop()
})

test('plain text from outside is delivered where it is permitted, with its source', async (t) => {
  await serve(far, programs.server('identity', 7021, { name: OPEN }))
  const sources = [mesh.one.ip, mesh.one.addresses.v6]
  for (const [at, host] of far.addresses.entries()) {
    const seen = seenBy(await call(mesh.one, programs.client('banner', host, 7021)))
    t.like(seen, { name: OPEN, local: { ip: host, port: 7021 }, remote: { ip: sources[at] } })
  }
  const [entry] = await mesh.waitForEntries(
    ({ path, destination }) => path === 'plaintext' && destination.ip === far.v4,
    1,
    'plain text',
  )
  t.like(entry, { direction: 'inbound', reason: 'completed', source: { ip: mesh.one.ip } })
  t.is(entry?.source.identity, undefined)
})

test('plain text from outside is refused under STRICT, and tunnels are not', async (t) => {
  for (const host of locked.addresses) {
    const report = await call(mesh.one, programs.client('banner', host, IDENTITY))
    t.false(report.ok, host)
  }
  const entries = await mesh.waitForEntries(
    ({ destination, path }) => path === 'plaintext' && destination.workload === 'locked',
    2,
    'the refusals',
  )
  t.deepEqual(new Set(entries.map(({ reason }) => reason)), new Set(['plaintext-denied']))
  t.true((await tell(caller, 'banner', locked.ip, IDENTITY)).ok)
})

test('every connection was logged once', async (t) => {
  const wanted = calls.filter(({ report }) => report.local !== undefined)
  for (const { from, host, port, report } of wanted) {
    await mesh.outbound(report)
    const same = mesh.entries(
      ({ direction, source, destination }) =>
        direction === 'outbound' &&
        from.addresses.includes(source.ip) &&
        source.port === report.local?.[1] &&
        destination.ip === plainIp(host) &&
        destination.port === port,
    )
    t.is(same.length, 1, `${from.name} to ${host} port ${port}: ${JSON.stringify(same)}`)
  }
  const carried = (way: string) =>
    mesh.entries(
      ({ path, reason, direction }) =>
        path === 'tunnel' && reason === 'completed' && direction === way,
    ).length
  // Each node writes its side in its own time.
  await mesh.lab.waitUntil(() => carried('inbound') >= carried('outbound'), 'both sides')
  t.is(carried('inbound'), carried('outbound'))
})

test('the wire between the nodes showed nothing of it', async (t) => {
  const recording = await capture.stop()
  t.is(recording.lost, 0)
  t.true(recording.find(OPEN).length > 0, 'it does show what leaves the mesh')
  t.deepEqual(recording.find(SECRET), [])
  t.deepEqual(recording.find('....................'), [])
})
