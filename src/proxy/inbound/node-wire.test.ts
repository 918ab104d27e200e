// The node's own HBONE listener, as peers see it: several identities at one address, told apart by
// server name and by port.
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  type IncomingHttpHeaders,
} from 'node:http2'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import test, { type ExecutionContext } from 'ava'
import { serverNameOf } from '../../identity/present/server-name.ts'
import { clientTlsOptions } from '../../identity/present/tls-options.ts'
import { LIMITS } from '../../model/limits.ts'
import type { TableWorkload } from '../../model/tables.ts'
import { until } from '../testing/conditions.ts'
import { held, spiffe } from '../testing/identities.ts'
import {
  app,
  hostPod,
  type Node,
  nodePod,
  service,
  startNode,
  tablesOf,
  workload,
} from '../testing/world.ts'

const CALLER = spiffe('caller')
const WEB = serverNameOf(spiffe('web'))
const API = serverNameOf(spiffe('api'))
const SERVICE = 'default/web.default.svc.cluster.local'
let block = 0

interface Host {
  readonly node: Node
  readonly ip: string
  /** Of a caller on another node. */
  readonly far: string
  /** By `ip:port`, as BPF learns them. */
  readonly owners: Map<string, number>
}

/** A node with these workloads, numbered from 1; an account is the first letters of a name. */
async function host(t: ExecutionContext, ...names: readonly string[]): Promise<Host> {
  const at = ++block
  const ip = `127.12.${at}.1`
  const workloads = names.map((name) => hostWorkload(name, ip))
  const caller = workload('caller', `127.12.${at}.2`)
  const all = [...workloads, caller]
  const owners = new Map<string, number>()
  const portOwner = (address: string, port: number) =>
    owners.get(`${address}:${port}`) ?? owners.get(`*:${port}`)
  const node = await startNode(tablesOf(1, { workloads: all }), all, { portOwner })
  t.teardown(() => node.close())
  for (const [index, one] of workloads.entries()) node.plane.listen(hostPod(one, index + 1), [])
  await node.serveAs(nodePod(ip), 'hbone', { ip, port: LIMITS.hbonePort })
  return { node, ip, far: caller.addresses[0] ?? '', owners }
}

function hostWorkload(name: string, ip: string): TableWorkload {
  const serviceAccount = name.slice(0, 3)
  const services = { [SERVICE]: [{ servicePort: 80, targetPort: name === 'web' ? 8080 : 9090 }] }
  return workload(name, ip, { hostNetwork: true, serviceAccount, services })
}

function dialTls({ ip, node }: Host, name?: string, from?: string): Promise<TLSSocket> {
  const check = { expected: [spiffe('web'), spiffe('api')], nowMs: () => Date.now() }
  const options = clientTlsOptions(held(node.identities, CALLER), check, name)
  const local = from === undefined ? {} : { localAddress: from }
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: ip, port: LIMITS.hbonePort, ...local, ...options })
    socket.once('secureConnect', () => resolve(socket))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed')))
  })
}

async function session(host: Host, name?: string, from = host.far): Promise<ClientHttp2Session> {
  const socket = await dialTls(host, name, from)
  const opened = connectHttp2('https://x', { createConnection: () => socket })
  opened.on('error', () => {})
  return opened
}

async function statusOf(on: ClientHttp2Session, authority: string): Promise<number> {
  const head = await new Promise<IncomingHttpHeaders>((resolve, reject) => {
    const headers = { ':method': 'CONNECT', ':authority': authority }
    const stream = on.request(headers, { endStream: false })
    stream.once('error', reject)
    stream.once('response', (answer) => {
      resolve(answer)
      stream.end()
      stream.resume()
    })
  })
  return Number(head[':status'])
}

/** Of the server: what its certificate says. */
const nameOf = (socket: TLSSocket) => socket.getPeerX509Certificate()?.subjectAltName

test('each identity is met under its server name', async (t) => {
  const at = await host(t, 'web', 'api')
  t.is(nameOf(await dialTls(at, WEB)), `URI:${spiffe('web')}`)
  t.is(nameOf(await dialTls(at, API)), `URI:${spiffe('api')}`)
})

test('without a name, or with one of nobody, two identities are no answer', async (t) => {
  const at = await host(t, 'web', 'api')
  await t.throwsAsync(dialTls(at))
  await t.throwsAsync(dialTls(at, serverNameOf(CALLER)))
  await t.throwsAsync(dialTls(at, 'localhost'))
  await until('the reports', () => at.node.entries.length === 3)
  const [first, ...others] = at.node.entries
  t.is(first?.reason, 'tls-failed')
  t.regex(first?.detail ?? '', /names none of them/)
  for (const { reason } of others) t.is(reason, 'unknown-workload')
})

test('without a name the only identity answers, of however many workloads', async (t) => {
  const at = await host(t, 'web', 'web-two')
  t.is(nameOf(await dialTls(at)), `URI:${spiffe('web')}`)
  await t.throwsAsync(dialTls(at, API))
})

test('a certificate that was not issued yet is not another one', async (t) => {
  const at = await host(t, 'web', 'api')
  at.node.identities.forget(spiffe('api'))
  await t.throwsAsync(dialTls(at, API))
  t.is((await at.node.entry(0)).reason, 'identity-unavailable')
  t.is(nameOf(await dialTls(at, WEB)), `URI:${spiffe('web')}`)
})

test('a port is reached under its own identity only', async (t) => {
  const at = await host(t, 'web', 'api')
  const { ip, owners } = at
  owners.set('*:7001', 1).set(`${ip}:7002`, 2).set('127.0.0.1:7003', 1).set('*:7004', 9)
  const servers = [7001, 7002].map((port) => app(ip, port, (socket) => socket.end()))
  const [web, api] = [await session(at, WEB), await session(at, API)]
  const cases: readonly (readonly [ClientHttp2Session, string, number])[] = [
    [web, `${ip}:7001`, 200],
    [api, `${ip}:7002`, 200],
    [web, `${ip}:7002`, 400],
    [api, `${ip}:7001`, 400],
    // Nobody listens; the configuration says whose it is.
    [web, `${ip}:8080`, 503],
    [api, `${ip}:8080`, 400],
    [web, `${ip}:9090`, 400],
    [web, `${ip}:22`, 400],
    // Of a workload this worker was not told of.
    [web, `${ip}:7004`, 503],
    // Another address, and loopback from another node.
    [web, '127.0.0.9:7001', 400],
    [web, '10.0.0.1:7001', 400],
    [web, '127.0.0.1:7003', 400],
    [web, '[::1]:7001', 400],
    [web, `${ip}:15008`, 503],
    [web, `${ip}:15101`, 503],
    [web, 'nobody.example:80', 503],
  ]
  for (const [on, authority, status] of cases)
    t.is(await statusOf(on, authority), status, authority)
  await until('all reports', () => at.node.entries.length === cases.length)
  const reached = at.node.entries.filter(({ reason }) => reason === 'completed')
  const ends = reached.map(({ source, destination: { workload, identity, port } }) => ({
    from: source.workload,
    to: [workload, identity, port],
  }))
  t.deepEqual(
    ends.sort((x, y) => Number(x.to[2]) - Number(y.to[2])),
    [
      { from: 'caller', to: ['web', spiffe('web'), 7001] },
      { from: 'caller', to: ['api', spiffe('api'), 7002] },
    ],
  )
  for (const on of [web, api]) on.destroy()
  for (const server of servers) await (await server).close()
})

test('what listens on loopback is reached from the same node', async (t) => {
  const at = await host(t, 'web', 'api')
  at.owners.set('127.12.255.1:7010', 1).set('127.12.255.2:7010', 2)
  const server = await app('127.12.255.1', 7010, (socket) => socket.end())
  const near = await session(at, WEB, at.ip)
  t.is(await statusOf(near, '127.12.255.1:7010'), 200)
  t.is(await statusOf(near, '127.12.255.2:7010'), 400)
  t.is(await statusOf(near, '127.12.255.1:15008'), 503)
  const far = await session(at, WEB)
  t.is(await statusOf(far, '127.12.255.1:7010'), 400)
  t.is(at.node.connects.at(-1)?.mark, 0x111)
  t.is(at.node.connects.at(-1)?.source, undefined)
  for (const on of [near, far]) on.destroy()
  await server.close()
})

test('a name of a service finds the workload that serves it', async (t) => {
  const at = await host(t, 'web', 'api')
  const server = await app(at.ip, 8080, (socket) => socket.end())
  const on = await session(at, WEB)
  t.is(await statusOf(on, 'web.default.svc.cluster.local:80'), 503)
  const services = [service('web', '10.98.0.1', [[80, 8080]], [])]
  const workloads = [hostWorkload('web', at.ip), hostWorkload('api', at.ip)]
  at.node.plane.setTables(tablesOf(2, { workloads, services }))
  t.is(await statusOf(on, 'web.default.svc.cluster.local:80'), 503, 'it does not listen itself')
  at.owners.set('*:8080', 1)
  t.is(await statusOf(on, 'web.default.svc.cluster.local:80'), 200)
  at.owners.set('*:8080', 2)
  t.is(await statusOf(on, 'web.default.svc.cluster.local:80'), 400)
  on.destroy()
  await server.close()
})
