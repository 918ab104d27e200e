// Workloads that share their node's network, through the whole pipeline: who a connection belongs
// to, under whose identity it is carried, and where it is delivered.
import test, { type ExecutionContext } from 'ava'
import { type ManualClock, manualClock } from '../base/clock.ts'
import { type AuthorizationPolicy, EMPTY_MATCH } from '../model/authorization.ts'
import { LIMITS } from '../model/limits.ts'
import type { TableWorkload } from '../model/tables.ts'
import { Client } from './testing/client.ts'
import { until } from './testing/conditions.ts'
import { spiffe } from './testing/identities.ts'
import {
  app,
  hostPod,
  type Mesh,
  type Node,
  nodePod,
  service,
  startNode,
  tablesOf,
  workload,
} from './testing/world.ts'

const KEY = 'default/web.default.svc.cluster.local'
const NUMBERS = { web: 1, api: 2, twin: 3 } as const
let block = 0

interface Stage {
  /** Of the node. */
  readonly ip: string
  readonly vip: string
  readonly mesh: Mesh
  /** The node that has them all. */
  readonly node: Node
  /** Another, with the pod `far`. */
  readonly away: Node
  readonly far: TableWorkload
  /** By `ip:port`, as BPF learns them. */
  readonly owners: Map<string, number>
  /** Calls as the host-network workload of this number; returns where the capture listens. */
  capture(number: number, ip: string, port: number): Promise<number>
}

/** `web` (service port 80 at 8080), `api` and `twin` of web's account at one address. */
async function stage(t: ExecutionContext, clock?: ManualClock): Promise<Stage> {
  const at = ++block
  const ip = `127.13.${at}.1`
  const shared = { hostNetwork: true, node: 'one' }
  const pairs = { [KEY]: [{ servicePort: 80, targetPort: 8080 }] }
  const web = workload('web', ip, { ...shared, services: pairs })
  const api = workload('api', ip, shared)
  const twin = workload('twin', ip, { ...shared, serviceAccount: 'web' })
  const far = workload('far', `127.13.${at}.2`, { node: 'two' })
  const vip = `10.99.${at}.1`
  const workloads = [web, api, twin, far]
  const mesh = { workloads, services: [service('web', vip, [[80, 8080]], [web])] }
  const owners = new Map<string, number>()
  const portOwner = (address: string, port: number) =>
    owners.get(`${address}:${port}`) ?? owners.get(`*:${port}`)
  const options = { portOwner, ...(clock === undefined ? {} : { clock }) }
  const node = await startNode(tablesOf(1, mesh), workloads, options)
  const away = await startNode(tablesOf(1, mesh), workloads)
  t.teardown(() => node.close())
  t.teardown(() => away.close())
  for (const one of [web, api, twin]) {
    node.plane.listen(hostPod(one, NUMBERS[one.name as keyof typeof NUMBERS]), [])
  }
  await node.serveAs(nodePod(ip), 'hbone', { ip, port: LIMITS.hbonePort })
  const capture = (number: number, to: string, port: number): Promise<number> =>
    node.serveAs(nodePod(ip), 'outbound', { ip, origin: { ip: to, port, workload: number } })
  return { ip, vip, mesh, node, away, far, owners, capture }
}

test('a service is carried to its endpoint on a node with several identities', async (t) => {
  const { ip, vip, node, away, far, owners } = await stage(t)
  owners.set('*:8080', NUMBERS.web)
  const server = await app(ip, 8080, (socket) => socket.pipe(socket))
  const port = await away.capture(far, vip, 80)
  t.is((await new Client(far.addresses[0] ?? '', port).ask('hello')).toString(), 'hello')
  const out = await away.entry(0)
  t.is(out.reason, 'completed')
  t.is(out.source.identity, spiffe('far'))
  t.is(out.destination.identity, spiffe('web'))
  t.is(out.destination.endpoint, `${ip}:8080`)
  const into = await node.entry(0)
  t.is(into.source.workload, 'far')
  t.is(into.destination.workload, 'web')
  t.is(into.destination.identity, spiffe('web'))
  t.is(node.connects.at(-1)?.mark, 0x111)
  t.is(node.connects.at(-1)?.transparent, undefined)
  await server.close()
})

test('of two workloads of one identity, the port tells which policy holds', async (t) => {
  const { ip, vip, mesh, node, away, far, owners } = await stage(t)
  const denied = mesh.workloads.map((one) =>
    one.name === 'twin' ? { ...one, policies: ['default/lost'] } : one,
  )
  node.plane.setTables(tablesOf(2, { ...mesh, workloads: denied }))
  owners.set('*:8080', NUMBERS.web)
  const server = await app(ip, 8080, (socket) => socket.end('web'))
  const port = await away.capture(far, vip, 80)
  t.is((await new Client(far.addresses[0] ?? '', port).ask('')).toString(), 'web')
  // Its port changes hands while the session lives.
  owners.set('*:8080', NUMBERS.twin)
  await new Client(far.addresses[0] ?? '', port).over()
  const refused = await node.entry(1)
  t.is(refused.reason, 'policy-denied')
  t.is(refused.destination.workload, 'twin')
  t.is((await away.entry(1)).reason, 'peer-denied')
  await server.close()
})

test('a call of a host-network workload is its own, with its own identity', async (t) => {
  const { ip, node, away, far, capture } = await stage(t)
  await away.expose(far)
  const server = await app(far.addresses[0] ?? '', 9090, (socket) =>
    socket.end(`${socket.remoteAddress}`),
  )
  for (const [at, name] of (['web', 'api'] as const).entries()) {
    const port = await capture(NUMBERS[name], far.addresses[0] ?? '', 9090)
    t.is((await new Client(ip, port).ask('')).toString(), ip)
    const out = await node.entry(at)
    t.is(out.source.workload, name)
    t.is(out.source.identity, spiffe(name))
    const into = await away.entry(at)
    t.is(into.source.identity, spiffe(name))
    // Two workloads have the identity of `web` there; nobody says which one it was.
    t.is(into.source.workload, name === 'api' ? 'api' : undefined)
    t.is(into.source.namespace, 'default')
  }
  await server.close()
})

test('a workload nobody was told of calls nobody', async (t) => {
  const clock = manualClock(Date.now())
  const { ip, node, capture } = await stage(t, clock)
  const caller = new Client(ip, await capture(77, '192.0.2.1', 80))
  await until('the agent to have it', () => node.plane.stats().connections === 1)
  clock.advance(LIMITS.workloadWaitMs)
  await until('the reset', () => caller.closed)
  t.is(caller.error, 'ECONNRESET')
  t.is((await node.entry(0)).reason, 'unknown-source')
})

test('a call that comes before its workload was announced waits for it', async (t) => {
  const { ip, mesh, node, far, away, capture } = await stage(t)
  await away.expose(far)
  const server = await app(far.addresses[0] ?? '', 9091, (socket) => socket.end('late'))
  const caller = new Client(ip, await capture(4, far.addresses[0] ?? '', 9091))
  await until('the agent to have it', () => node.plane.stats().connections === 1)
  const [web] = mesh.workloads
  if (web === undefined) return t.fail()
  node.plane.listen(hostPod(web, 4), [])
  t.is((await caller.ask('')).toString(), 'late')
  await server.close()
  return undefined
})

test('two workloads of one node reach each other, on loopback too', async (t) => {
  const { ip, node, owners, capture } = await stage(t)
  owners.set('127.13.0.1:7020', NUMBERS.web)
  const server = await app('127.13.0.1', 7020, (socket) => socket.end('inside'))
  const port = await capture(NUMBERS.api, '127.13.0.1', 7020)
  t.is((await new Client(ip, port).ask('')).toString(), 'inside')
  await until('both entries', () => node.entries.length === 2)
  const out = node.entries.find(({ direction }) => direction === 'outbound')
  const into = node.entries.find(({ direction }) => direction === 'inbound')
  t.is(out?.path, 'tunnel')
  t.is(out?.destination.endpoint, '127.13.0.1:7020')
  t.is(into?.source.workload, 'api')
  t.is(into?.destination.ip, '127.13.0.1')
  t.is(into?.destination.workload, 'web')
  await server.close()
})

test('a call by loopback is judged by the address that its destination sees', async (t) => {
  const { ip, mesh, node, owners, capture } = await stage(t)
  owners.set('127.13.0.2:7021', NUMBERS.web)
  const near: AuthorizationPolicy = {
    key: 'default/near',
    name: 'near',
    namespace: 'default',
    action: 'allow',
    rules: [{ clauses: [[{ ...EMPTY_MATCH, sourceIps: [ip] }]] }],
    dryRun: false,
    origin: 'test',
  }
  const workloads = mesh.workloads.map((one) =>
    one.name === 'web' ? { ...one, policies: [near.key] } : one,
  )
  node.plane.setTables(tablesOf(2, { ...mesh, workloads, policies: [near] }))
  const server = await app('127.13.0.2', 7021, (socket) => socket.end('inside'))
  const port = await capture(NUMBERS.api, '127.13.0.2', 7021)
  t.is((await new Client(ip, port, '127.13.0.3').ask('')).toString(), 'inside')
  await server.close()
})

test('a call to itself is a delivery', async (t) => {
  const { ip, vip, node, owners, capture } = await stage(t)
  owners.set('*:8080', NUMBERS.web)
  const server = await app(ip, 8080, (socket) => socket.end('me'))
  const port = await capture(NUMBERS.web, vip, 80)
  t.is((await new Client(ip, port).ask('')).toString(), 'me')
  const entry = await node.entry(0)
  t.is(entry.path, 'self')
  t.is(entry.source.identity, spiffe('web'))
  t.is(node.connects.at(-1)?.mark, 0x111)
  await server.close()
})

test('plaintext goes to the workload whose number it carries', async (t) => {
  const { ip, mesh, node, owners } = await stage(t)
  owners.set('*:7030', NUMBERS.web)
  const strict = { mode: 'strict', ports: {}, by: 'default/peer' } as const
  const workloads = mesh.workloads.map((one) =>
    one.name === 'api' ? { ...one, peer: strict } : one,
  )
  node.plane.setTables(tablesOf(2, { ...mesh, workloads }))
  const server = await app(ip, 7030, (socket) => socket.end('open'))
  const ports = []
  for (const number of [NUMBERS.web, NUMBERS.api]) {
    const origin = { ip, port: 7030, workload: number }
    const local = { address: ip, port: 7030 }
    ports.push(await node.serveAs(nodePod(ip), 'plaintext', { ip, origin, local }))
  }
  t.is((await new Client(ip, ports[0] ?? 0).ask('')).toString(), 'open')
  t.is((await node.entry(0)).destination.workload, 'web')
  await new Client(ip, ports[1] ?? 0).over()
  const refused = await node.entry(1)
  t.is(refused.reason, 'plaintext-denied')
  t.is(refused.destination.workload, 'api')
  // Somebody met the listener itself: the kernel knows nobody who has that port.
  const nobody = { ip, port: 7031, workload: 0 }
  for (const [at, origin] of [{}, { origin: nobody }].entries()) {
    const own = await node.serveAs(nodePod(ip), 'plaintext', { ip, ...origin })
    await new Client(ip, own).over()
    t.is((await node.entry(2 + at)).reason, 'unknown-workload')
  }
  await server.close()
})

test('a workload that leaves takes its connections along, and no others', async (t) => {
  const { ip, vip, mesh, node, away, far, owners, capture } = await stage(t)
  owners.set('*:8080', NUMBERS.web).set('*:7040', NUMBERS.api)
  const servers = [
    await app(ip, 8080, (socket) => socket.write('web')),
    await app(ip, 7040, (socket) => socket.write('api')),
  ]
  const from = far.addresses[0] ?? ''
  const into = new Client(from, await away.capture(far, vip, 80))
  const other = new Client(ip, await capture(NUMBERS.api, ip, 7040))
  await until('the first', () => into.bytes + other.bytes === 6)
  const out = new Client(ip, await capture(NUMBERS.web, ip, 7040))
  await until('the second', () => out.bytes === 3)
  const [web, , twin] = mesh.workloads
  await node.plane.unlisten(web?.uid ?? '', 'workload-removed')
  await until('the resets', () => into.closed && out.closed)
  // The session is of its twin's identity as well; with that it ends.
  const before = node.plane.stats().inboundSessions
  await node.plane.unlisten(twin?.uid ?? '', 'workload-removed')
  await until('its session to end', () => node.plane.stats().inboundSessions === before - 1)
  t.false(other.closed)
  const reasons = node.entries.map(({ reason }) => reason)
  t.is(reasons.filter((reason) => reason === 'workload-removed').length, 2)
  other.socket.destroy()
  for (const server of servers) await server.close()
})
