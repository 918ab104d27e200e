// What programs of a node try that are in no mesh, and what services of it try that are: nobody is
// reached in plaintext where that is refused, nobody speaks or answers under the identity of another,
// and nothing goes round the agent.
import { existsSync } from 'node:fs'
import test from 'ava'
import type { HostService } from '../lab/host-service.ts'
import { meshConfig, peerAuthentication } from '../lab/mesh-config.ts'
import type { Pod } from '../lab/pod.ts'
import * as programs from '../lab/programs.ts'
import { call, Mesh, type Report, seenBy, serve, servicePort, spiffe } from '../mesh/mesh.ts'
import { odd, oddly } from './odd.ts'

const ALPHA = 7100
const BETA = 7200
const GAMMA = 7300
const OUTSIDE = 7400
/** Named by a service that never runs. */
const HELD = 7600
const SSH = 2222
/** On no interface of the node but an extra one, as a container runtime's bridge. */
const SECOND = '172.31.7.1'
/** No account of any of the services. */
const NOBODY = ['setpriv', '--reuid=65534', '--clear-groups', '--']

type From = HostService | Pod | Mesh['one']

let mesh: Mesh
let alpha: HostService
let beta: HostService
/** On the other node. */
let gamma: HostService
let far: Pod
/** Of node one, in no mesh. */
let stranger: HostService

test.before(async () => {
  mesh = await Mesh.open()
  const { one, two, lab } = mesh
  alpha = mesh.host(one, 'alpha')
  beta = mesh.host(one, 'beta')
  gamma = mesh.host(two, 'gamma')
  mesh.host(one, 'held', { ports: { held: HELD } })
  far = await mesh.pod(two, 'far')
  stranger = one.service('stranger')
  await one.exec(['ip', 'addr', 'add', `${SECOND}/24`, 'dev', 'pods0'])
  lab.config.write('mesh.yaml', [
    meshConfig({ enrolGraceMs: 0 }),
    peerAuthentication('default', 'default', { mtls: { mode: 'STRICT' } }),
    mesh.service('alpha', { app: 'alpha' }, [ALPHA]),
    mesh.service('gamma', { app: 'gamma' }, [GAMMA]),
  ])
  await mesh.start()
  await serve(alpha, programs.server('identity', ALPHA, { name: 'alpha' }))
  await serve(beta, programs.server('identity', BETA, { name: 'beta' }))
  await serve(gamma, programs.server('identity', GAMMA, { name: 'gamma' }))
  await two.run(programs.server('identity', OUTSIDE, { name: 'outside' }), {
    waitFor: programs.LISTENING,
  })
  await one.run(programs.server('echo', SSH), { waitFor: programs.LISTENING })
})

test.after.always(() => mesh?.close())

const ask = (from: From, host: string, port: number): Promise<Report> =>
  call(from, programs.client('banner', host, port, { timeoutSeconds: 3 }))

/** Every way by which a program of the node comes to a port of it. */
const DOORS = () => {
  const { v4, v6 } = mesh.one.addresses
  return ['127.0.0.1', '127.8.8.8', '0.0.0.0', '::1', '::', v4, v6, SECOND]
}

test('a program beside it reaches an enrolled service by no address of the node', async (t) => {
  const [free] = await serve(stranger, programs.server('identity', 7500, { name: 'free' }))
  for (const host of DOORS()) {
    t.false((await ask(stranger, host, ALPHA)).ok, host)
    t.is(seenBy(await ask(stranger, host, 7500)).name, 'free', `the way by ${host} is one`)
  }
  t.false((await ask(far, SECOND, ALPHA)).ok)
  await free?.stop()
})

for (const [mode, more] of [
  ['mptcp', []],
  ['fastopen', []],
  ['mapped', []],
  ['device', ['eth0']],
] as const) {
  test(`sockets of other kinds are captured and refused like any: ${mode}`, async (t) => {
    for (const from of [alpha, far]) {
      const report = await oddly(from, mode, gamma.ip, GAMMA, ...more)
      t.is(seenBy(report).name, 'gamma', JSON.stringify(report))
      const { path, source } = await mesh.outbound(report)
      t.is(path, 'tunnel')
      t.is(source.identity, spiffe(from))
    }
    t.false((await oddly(stranger, mode, gamma.ip, GAMMA, ...more)).ok)
    const outside = await oddly(stranger, mode, mesh.two.ip, OUTSIDE, ...more)
    t.is(seenBy(outside).name, 'outside', 'the attack works where there is no mesh')
  })
}

test('a socket that was let go and connects again is judged again', async (t) => {
  const report = await oddly(alpha, 'again', mesh.two.ip, OUTSIDE, gamma.ip, GAMMA)
  t.is(seenBy(report).name, 'gamma')
  t.is((await mesh.outbound(report)).path, 'tunnel')
})

test('a socket is of the cgroup that it was made in, whoever uses it', async (t) => {
  const asAlpha = await oddly(stranger, 'passed', gamma.ip, GAMMA, alpha.cgroup)
  t.is((await mesh.outbound(asAlpha)).source.identity, spiffe(alpha))
  const asStranger = await oddly(alpha, 'passed', gamma.ip, GAMMA, mesh.one.otherCgroup)
  t.false(asStranger.ok, 'STRICT at the other end')
})

test('a cgroup below a service is of it; one of the same name elsewhere is not', async (t) => {
  const below = await mesh.one.exec(programs.client('banner', gamma.ip, GAMMA), {
    cgroup: `${alpha.cgroup}/beta.service`,
  })
  t.is((await mesh.outbound(JSON.parse(below.stdout))).source.identity, spiffe(alpha))
  for (const lookalike of [`${mesh.one.otherCgroup}/alpha.service`, `${alpha.cgroup}s`]) {
    const argv = programs.client('banner', gamma.ip, GAMMA, { timeoutSeconds: 3 })
    const { stdout } = await mesh.one.exec(argv, { cgroup: lookalike })
    t.false(JSON.parse(stdout).ok, lookalike)
  }
})

test('capture ports and the tunnel port give nothing to who was not captured', async (t) => {
  for (const host of ['127.0.0.1', mesh.one.ip]) {
    for (const port of [15_001, 15_006, 15_101, 15_132]) {
      t.is((await ask(stranger, host, port)).error, 'ECONNREFUSED', `${host} ${port}`)
      t.false((await ask(beta, host, port)).ok)
    }
    t.false((await ask(stranger, host, 15_008)).ok)
  }
})

test('a service that takes the port of another answers for nobody but itself', async (t) => {
  await alpha.stop()
  const argv = programs.server('identity', ALPHA, { name: 'beta' })
  const [thief] = await serve(beta, argv)
  for (const from of [gamma, far, beta, stranger]) {
    const [host, port] =
      from === stranger ? [alpha.ip, ALPHA] : [mesh.vip('alpha').v4, servicePort(ALPHA)]
    t.false((await ask(from, host, port)).ok, from.name)
  }
  await thief?.stop()
  await serve(alpha, programs.server('identity', ALPHA, { name: 'alpha' }))
})

test('a program that takes the port of a service that is down is not reached in its place', async (t) => {
  await alpha.stop()
  const argv = programs.server('identity', ALPHA, { name: 'thief' })
  const [thief] = await serve(stranger, [...NOBODY, ...argv])
  const other = programs.server('identity', 7555, { name: 'thief' })
  const [elsewhere] = await serve(stranger, [...NOBODY, ...other])
  const callers = [gamma, far, beta]
  for (const from of callers) {
    for (const [host, port] of [
      [mesh.one.ip, ALPHA],
      [mesh.vip('alpha').v4, servicePort(ALPHA)],
    ] as const) {
      t.false((await ask(from, host, port)).ok, `${from.name} by ${host}`)
    }
    t.is(seenBy(await ask(from, mesh.one.ip, 7555)).name, 'thief', 'at a port of nobody it is met')
  }
  await elsewhere?.stop()
  await thief?.stop()
  await serve(alpha, programs.server('identity', ALPHA, { name: 'alpha' }))
  const back = await ask(gamma, mesh.vip('alpha').v4, servicePort(ALPHA))
  t.is(seenBy(back).name, 'alpha')
})

test('a port that a service names may be held for it by root, and by nobody else', async (t) => {
  const argv = programs.server('identity', HELD, { name: 'holder' })
  const [thief] = await serve(stranger, [...NOBODY, ...argv])
  for (const from of [gamma, far]) t.false((await ask(from, mesh.one.ip, HELD)).ok, from.name)
  await thief?.stop()
  const [manager] = await serve(stranger, argv)
  for (const from of [gamma, far]) {
    const reached = await ask(from, mesh.one.ip, HELD)
    t.is(seenBy(reached).name, 'holder', from.name)
  }
  await manager?.stop()
})

test('whoever opens more ports than there is room for opens none of others to plaintext', async (t) => {
  const filler = await alpha.run(odd('listen-many', 17_000), { waitFor: programs.LISTENING })
  const [late] = await serve(beta, programs.server('identity', 7700, { name: 'late' }))
  const [free] = await serve(stranger, programs.server('identity', 7701, { name: 'free' }))
  t.false((await ask(stranger, '127.0.0.1', 7700)).ok)
  t.is(seenBy(await ask(stranger, '127.0.0.1', 7701)).name, 'free')
  t.true((await call(stranger, programs.client('echo', mesh.one.ip, SSH))).ok)
  await Promise.all([late?.stop(), free?.stop(), filler.stop()])
})

test('nobody but root comes to the admin socket, whatever he sends', async (t) => {
  const socket = `${mesh.agents[0].stateDirectory}/admin.sock`
  t.true(existsSync(socket))
  const curl = ['curl', '-sS', '--max-time', '5', '--path-as-is', '--unix-socket', socket]
  const as = async (who: readonly string[], ...args: string[]) =>
    (await mesh.one.exec([...who, ...curl, ...args], { check: false })).stdout
  t.is(await as(NOBODY, 'http://weft/v1/status'), '')
  t.not(await as([], 'http://weft/v1/status'), '')
  for (const path of ['/v1/../../etc/passwd', '/v1/%2e%2e/%2e%2e/etc/passwd', '//etc/passwd']) {
    t.regex(await as([], `http://weft${path}`), /nothing at this path/)
  }
  const all = await Promise.all(
    ['status', 'workloads?all', 'connections?live', 'certificates'].map((path) =>
      as([], `http://weft/v1/${path}`),
    ),
  )
  t.notRegex(all.join(), /PRIVATE|BEGIN/)
  const huge = await as([], '-H', `x: ${'x'.repeat(60_000)}`, 'http://weft/v1/status')
  t.notRegex(huge, /"node"/)
  t.not(await as([], 'http://weft/v1/status'), '', 'it goes on')
})
