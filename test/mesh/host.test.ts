// Services that share their node's network, two of them behind one address: who may call whom, by
// every way there is, and that nobody comes in under the identity of the other.
import test, { type ExecutionContext } from 'ava'
import { serverNameOf } from '../../src/identity/present/server-name.ts'
import { forgeLeaf } from '../../src/identity/testing/certificates.ts'
import { type CertificateFiles, connectTo, dial, rootOf, writeLeaf } from '../adversary/door.ts'
import type { HostService } from '../lab/host-service.ts'
import { authorizationPolicy, meshConfig, peerAuthentication } from '../lab/mesh-config.ts'
import type { Pod } from '../lab/pod.ts'
import * as programs from '../lab/programs.ts'
import {
  call,
  Mesh,
  plainIp,
  principal,
  type Report,
  seenBy,
  serve,
  servicePort,
  spiffe,
} from './mesh.ts'

/** Each workload's own, so that a port tells whose it is. */
const PORTS = { alpha: 7100, beta: 7200, gamma: 7300, near: 7400, far: 7500 }
const SSH = 2222
/** Alpha listens on loopback alone. */
const LOOPBACK = 7110
const OPEN = 7600

type Name = keyof typeof PORTS
type Member = Pod | HostService

let mesh: Mesh
let alpha: HostService
let beta: HostService
/** On the other node, alone behind its address. */
let gamma: HostService
/** Takes plaintext, and nobody asks for identities. */
let open: HostService
/** Pods of either node. */
let near: Pod
let far: Pod
/** Of node one, in no mesh: a prober, and what stands beside it. */
let prober: HostService
let stranger: HostService

const members = (): Record<Name, Member> => ({ alpha, beta, gamma, near, far })

/** Who may call; nobody else may. */
const CALLERS: Readonly<Record<Name, readonly Name[]>> = {
  alpha: ['beta', 'near', 'far'],
  beta: ['alpha', 'gamma'],
  gamma: ['alpha', 'near'],
  near: ['alpha', 'gamma'],
  far: ['beta', 'gamma'],
}

/** One policy that allows, and one that denies, as either kind must be enforced. */
function policies(name: Name) {
  const all = members()
  const principals = CALLERS[name].map((caller) => principal(all[caller]))
  const rule = name === 'alpha' || name === 'near' ? 'notPrincipals' : 'principals'
  return authorizationPolicy(name, 'default', {
    selector: { matchLabels: { app: name } },
    action: rule === 'principals' ? 'ALLOW' : 'DENY',
    rules: [{ from: [{ source: { [rule]: principals } }] }],
  })
}

test.before(async () => {
  mesh = await Mesh.open()
  const { one, two, lab } = mesh
  alpha = mesh.host(one, 'alpha')
  beta = mesh.host(one, 'beta')
  open = mesh.host(one, 'open')
  gamma = mesh.host(two, 'gamma')
  near = await mesh.pod(one, 'near')
  far = await mesh.pod(two, 'far')
  prober = one.service('prober')
  stranger = one.service('stranger')
  const names = Object.keys(PORTS) as Name[]
  lab.config.write('mesh.yaml', [
    meshConfig({ enrolGraceMs: 0, probeCgroups: [prober.cgroupPath] }),
    peerAuthentication('default', 'default', { mtls: { mode: 'STRICT' } }),
    peerAuthentication('open', 'default', {
      selector: { matchLabels: { app: 'open' } },
      mtls: { mode: 'PERMISSIVE' },
    }),
  ])
  lab.config.write('services.yaml', [
    ...names.map((name) => mesh.service(name, { app: name }, [PORTS[name]])),
    mesh.service('open', { app: 'open' }, [OPEN]),
    ...names.map(policies),
  ])
  await mesh.start()
  for (const [name, member] of Object.entries(members())) {
    await serve(member, programs.server('identity', PORTS[name as Name], { name }))
  }
  await serve(open, programs.server('identity', OPEN, { name: 'open' }))
  await serve(alpha, programs.server('identity', LOOPBACK, { name: 'alpha', host: '127.0.0.1' }))
  await one.run(programs.server('echo', SSH), { waitFor: programs.LISTENING })
})

test.after.always(() => mesh?.close())

const ask = (from: Pick<Member, 'exec'>, host: string, port: number): Promise<Report> =>
  call(from, programs.client('banner', host, port, { timeoutSeconds: 5 }))

/** The address and port by which a caller may reach a workload. */
const WAYS: Readonly<Record<string, (to: Name) => readonly [string, number]>> = {
  'its address': (to) => [members()[to].ip, PORTS[to]],
  "its service's address": (to) => [mesh.vip(to).v4, servicePort(PORTS[to])],
}

async function answered(t: ExecutionContext, from: Name, to: Name, report: Report): Promise<void> {
  t.true(report.ok, `${from} to ${to}: ${JSON.stringify(report)}`)
  t.is(seenBy(report).name, to)
  const entry = await mesh.outbound(report)
  t.is(entry.path, 'tunnel')
  t.is(entry.reason, 'completed', entry.detail)
  t.is(entry.source.identity, spiffe(members()[from]))
  t.is(entry.destination.identity, spiffe(members()[to]))
  t.is(entry.destination.workload, to)
}

async function denied(t: ExecutionContext, from: Name, to: Name, report: Report): Promise<void> {
  t.false(report.ok, `${from} to ${to}: ${JSON.stringify(report)}`)
  const entry = await mesh.outbound(report)
  t.is(entry.reason, 'policy-denied', entry.detail)
  t.is(entry.source.identity, spiffe(members()[from]))
}

for (const to of Object.keys(PORTS) as Name[]) {
  for (const [way, target] of Object.entries(WAYS)) {
    test(`${to} is called by those whom its policy names, by ${way}`, async (t) => {
      const [host, port] = target(to)
      for (const from of (Object.keys(PORTS) as Name[]).filter((name) => name !== to)) {
        const report = await askHolding(members()[from], host, port)
        const check = CALLERS[to].includes(from) ? answered : denied
        await check(t, from, to, report)
      }
    })
  }
}

/** A denied connection may be reset before its client could tell its own port: it is bound. */
let nextPort = 30_000
async function askHolding(from: Member, host: string, port: number): Promise<Report> {
  const bindPort = nextPort++
  const options = { bindPort, timeoutSeconds: 5 }
  const report = await call(from, programs.client('banner', host, port, options))
  // A service of the node meets its agent on loopback.
  const local = 'cgroupPath' in from ? '127.0.0.1' : from.ip
  return { ...report, local: report.local ?? [local, bindPort] }
}

test('a service calls another of its node by loopback, under its own identity', async (t) => {
  const report = await askHolding(beta, '127.0.0.1', PORTS.alpha)
  t.true(report.ok, JSON.stringify(report))
  t.is(seenBy(report).name, 'alpha')
  const onLoopback = await askHolding(beta, '127.0.0.1', LOOPBACK)
  t.true(onLoopback.ok, JSON.stringify(onLoopback))
  const [entry] = await mesh.waitForEntries(
    ({ direction, destination }) => direction === 'inbound' && destination.port === LOOPBACK,
    1,
    'the call by loopback',
  )
  t.is(entry?.source.identity, spiffe(beta))
  t.is(entry?.destination.identity, spiffe(alpha))
  t.false((await ask(gamma, '127.0.0.1', LOOPBACK)).ok, 'of its own node')
})

test('its own ports are its own affair; by the address of its service it is judged', async (t) => {
  for (const host of ['127.0.0.1', alpha.ip]) {
    const report = await ask(alpha, host, PORTS.alpha)
    t.true(report.ok, `${host}: ${JSON.stringify(report)}`)
    t.is(seenBy(report).name, 'alpha')
  }
  const report = await askHolding(alpha, mesh.vip('alpha').v4, servicePort(PORTS.alpha))
  await denied(t, 'alpha', 'alpha', report)
  const unjudged = await ask(open, mesh.vip('open').v4, servicePort(OPEN))
  t.true(unjudged.ok, JSON.stringify(unjudged))
  t.is((await mesh.outbound(unjudged)).path, 'self')
})

const FAR = 'spiffe://cluster.local/ns/default/sa/far'
const GAMMA = 'spiffe://cluster.local/ns/default/sa/gamma'

async function forged(uri: string): Promise<CertificateFiles> {
  return writeLeaf(mesh.lab, await forgeLeaf(rootOf(mesh.lab), { uris: [uri] }))
}

/** With a certificate that is right, from a node that is none of it. */
async function knock(uri: string, name: string | undefined, authorities: readonly string[]) {
  const servername = name === undefined ? {} : { servername: name }
  return dial(mesh.two, mesh.one.ip, {
    certificate: await forged(uri),
    tls: servername,
    requests: authorities.map((authority) => connectTo(authority, '\n')),
  })
}

test("a CONNECT to a port of the other identity is answered 400, whatever the caller's rights", async (t) => {
  const at = (port: number): string => `${mesh.one.ip}:${port}`
  const authorities = [PORTS.beta, PORTS.alpha, SSH, 1, LOOPBACK].map(at)
  const asAlpha = await knock(FAR, serverNameOf(spiffe(alpha)), authorities)
  t.deepEqual(
    asAlpha.answers.map(({ status }) => status),
    [400, 200, 400, 400, 400],
  )
  const asBeta = await knock(GAMMA, serverNameOf(spiffe(beta)), authorities)
  t.deepEqual(
    asBeta.answers.map(({ status }) => status),
    [200, 400, 400, 400, 400],
  )
  const denied = await knock(GAMMA, serverNameOf(spiffe(alpha)), [at(PORTS.alpha)])
  t.deepEqual(
    denied.answers.map(({ status }) => status),
    [401],
    'the policy is that of the workload',
  )
  const loopback = await knock(FAR, serverNameOf(spiffe(alpha)), [`127.0.0.1:${LOOPBACK}`])
  t.deepEqual(
    loopback.answers.map(({ status }) => status),
    [400],
    'from another node',
  )
})

test('without a name, or with that of nobody, the door of two stays closed', async (t) => {
  const authority = [`${mesh.one.ip}:${PORTS.alpha}`]
  for (const name of [
    undefined,
    'alpha',
    serverNameOf(spiffe(gamma)),
    serverNameOf(spiffe(near)),
  ]) {
    const report = await knock(FAR, name, authority)
    t.not(report.accepted, true, `${name}`)
    t.deepEqual(report.answers, [])
  }
})

test('where one is alone at its address a foreign client needs no name', async (t) => {
  const report = await dial(mesh.one, mesh.two.ip, {
    certificate: await forged(spiffe(near)),
    requests: [connectTo(`${mesh.two.ip}:${PORTS.gamma}`, '\n')],
  })
  t.is(report.answers[0]?.status, 200)
  t.true(report.answers[0]?.body.includes('gamma'))
})

test('STRICT refuses what comes in plaintext, from beside and from afar', async (t) => {
  for (const from of [stranger, mesh.one, mesh.two]) {
    for (const host of from === mesh.two ? [alpha.ip] : ['127.0.0.1', alpha.ip]) {
      const report = await ask(from, host, PORTS.alpha)
      t.false(report.ok, `${host}: ${JSON.stringify(report)}`)
    }
  }
  t.false((await ask(stranger, near.ip, PORTS.near)).ok)
})

test('PERMISSIVE takes it in, without an identity', async (t) => {
  for (const [from, host] of [
    [stranger, '127.0.0.1'],
    [stranger, open.ip],
    [mesh.two, open.ip],
  ] as const) {
    const report = await ask(from, host, OPEN)
    t.true(report.ok, `${host}: ${JSON.stringify(report)}`)
    const [ip, port] = report.local ?? []
    const [entry] = await mesh.waitForEntries(
      ({ direction, source }) =>
        direction === 'inbound' && source.ip === ip && source.port === port,
      1,
      'the plaintext connection',
    )
    t.like(entry, { path: 'plaintext', reason: 'completed' })
    t.is(entry?.source.identity, undefined)
    t.is(entry?.destination.workload, 'open')
  }
})

test('whoever finds the listeners of the agent on the node gets nothing of them', async (t) => {
  const { stdout } = await mesh.one.exec(['ss', '-Hltnp'])
  const own = stdout.split('\n').filter((line) => line.includes(`pid=${mesh.agents[0].pid},`))
  const found = own.flatMap((line) => /(127\.0\.0\.1|\[::1\]):(\d+)/.exec(line)?.slice(1, 3) ?? [])
  t.is(found.length, 2 * 3 * 2 * 2, 'workers, classes and families')
  const certificate = await forged(FAR)
  for (let at = 0; at < found.length; at += 2) {
    const [host = '', port = ''] = found.slice(at, at + 2).map((part) => part.replace(/[[\]]/g, ''))
    for (const from of [stranger, beta]) {
      const report = await call(from, programs.client('echo', host, Number(port)))
      t.false(report.ok, `${host} port ${port}`)
    }
    const tls = { servername: serverNameOf(spiffe(alpha)) }
    const requests = [connectTo(`${mesh.one.ip}:${PORTS.alpha}`, '\n')]
    const door = await dial(mesh.one, host, { port: Number(port), certificate, tls, requests })
    t.deepEqual(door.answers, [], `${host} port ${port}`)
  }
})

test('what is in no mesh is reached as ever, and its callers are let out', async (t) => {
  for (const from of [stranger, mesh.one, mesh.two, alpha, beta, gamma, far]) {
    const report = await call(from, programs.client('echo', mesh.one.ip, SSH))
    t.true(report.ok, JSON.stringify(report))
  }
  const local = await call(alpha, programs.client('echo', '127.0.0.1', SSH))
  t.true(local.ok)
})

test('a prober passes STRICT, to services and pods; a process beside it does not', async (t) => {
  for (const [host, port, name] of [
    [alpha.ip, PORTS.alpha, 'alpha'],
    ['127.0.0.1', PORTS.alpha, 'alpha'],
    [near.ip, PORTS.near, 'near'],
  ] as const) {
    const probe = await ask(prober, host, port)
    t.true(probe.ok, `${host}: ${JSON.stringify(probe)}`)
    t.is(seenBy(probe).name, name)
    t.is(plainIp(seenBy(probe).remote.ip), host === near.ip ? mesh.one.addresses.gateway4 : host)
    t.false((await ask(stranger, host, port)).ok)
  }
  await mesh.apply('mesh.yaml', [
    meshConfig({ enrolGraceMs: 0 }),
    peerAuthentication('default', 'default', { mtls: { mode: 'STRICT' } }),
  ])
  t.false((await ask(prober, alpha.ip, PORTS.alpha)).ok, 'no longer named')
})
