// What a peer sees that speaks HTTP/2 by itself: statuses, settings, and refused handshakes.
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type Settings,
} from 'node:http2'
import { connect as connectTcp } from 'node:net'
import { connect as connectTls, createSecureContext, type TLSSocket } from 'node:tls'
import test, { type ExecutionContext } from 'ava'
import { clientTlsOptions } from '../../identity/present/tls-options.ts'
import { LIMITS } from '../../model/limits.ts'
import { until } from '../testing/conditions.ts'
import { held, spiffe } from '../testing/identities.ts'
import { app, type Node, startNode, tablesOf, workload } from '../testing/world.ts'

const CLIENT = spiffe('a')
let block = 0

interface Target {
  readonly node: Node
  readonly ip: string
  close(): Promise<void>
}

async function target(t: ExecutionContext): Promise<Target> {
  const at = ++block
  const a = workload('a', `127.10.${at}.1`)
  const b = workload('b', `127.10.${at}.2`)
  const ip = b.addresses[0] ?? ''
  const node = await startNode(tablesOf(1, { workloads: [a, b] }), [a, b])
  t.teardown(() => node.close())
  await node.expose(b)
  return { node, ip, close: () => node.close() }
}

function dialTls(ip: string, options: object): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: ip, port: LIMITS.hbonePort, ...options })
    socket.once('secureConnect', () => resolve(socket))
    socket.once('error', reject)
  })
}

async function session({ node, ip }: Target): Promise<ClientHttp2Session> {
  const check = { expected: [spiffe('b')], nowMs: () => Date.now() }
  const socket = await dialTls(ip, clientTlsOptions(held(node.identities, CLIENT), check))
  const opened = connectHttp2('https://x', { createConnection: () => socket })
  opened.on('error', () => {})
  return opened
}

function ask(on: ClientHttp2Session, headers: OutgoingHttpHeaders): Promise<IncomingHttpHeaders> {
  return new Promise((resolve, reject) => {
    const stream = on.request(headers, { endStream: false })
    stream.once('response', (head) => {
      resolve(head)
      stream.end()
      stream.resume()
    })
    stream.once('error', reject)
  })
}

test('answers with the statuses of ztunnel', async (t) => {
  const aim = await target(t)
  const web = await app(aim.ip, 8080, (socket) => socket.end())
  const on = await session(aim)
  const cases: readonly (readonly [OutgoingHttpHeaders, number])[] = [
    [{ ':method': 'CONNECT', ':authority': `${aim.ip}:8080` }, 200],
    [{ ':method': 'CONNECT', ':authority': `${aim.ip}` }, 400],
    [{ ':method': 'CONNECT', ':authority': '127.0.0.1:8080' }, 400],
    [{ ':method': 'GET', ':scheme': 'https', ':path': '/', ':authority': `${aim.ip}:8080` }, 400],
    [{ ':method': 'CONNECT', ':authority': `${aim.ip}:1` }, 503],
    [{ ':method': 'CONNECT', ':authority': `${aim.ip}:15008` }, 503],
    [{ ':method': 'CONNECT', ':authority': 'nobody.example:80' }, 503],
  ]
  for (const [headers, status] of cases) {
    const head = await ask(on, headers)
    t.is(Number(head[':status']), status, JSON.stringify(headers))
    t.is(head.date, undefined)
    if (status === 200) t.regex(String(head.baggage), /^k8s.cluster.name=Kubernetes,/)
  }
  await until('all reports', () => aim.node.entries.length === cases.length)
  on.destroy()
  await web.close()
  await aim.close()
})

test('answers 401 to what policy denies', async (t) => {
  const aim = await target(t)
  const b = workload('b', aim.ip, { policies: ['default/unknown'] })
  aim.node.plane.setTables(tablesOf(2, { workloads: [b] }))
  const on = await session(aim)
  const head = await ask(on, { ':method': 'CONNECT', ':authority': `${aim.ip}:8080` })
  t.is(Number(head[':status']), 401)
  on.destroy()
  await aim.close()
})

test('announces the settings of ztunnel', async (t) => {
  const aim = await target(t)
  const on = await session(aim)
  const settings = await new Promise<Settings>((resolve) => on.once('remoteSettings', resolve))
  t.is(settings.initialWindowSize, 4_194_304)
  t.is(settings.maxFrameSize, 1_048_576)
  t.is(settings.maxConcurrentStreams, 200)
  t.is(settings.maxHeaderListSize, 65_536)
  await until('the larger session window', () => (on.state.remoteWindowSize ?? 0) >= 16_000_000)
  on.destroy()
  await aim.close()
})

test('refuses streams beyond what it announced, and goes on serving', async (t) => {
  const aim = await target(t)
  const web = await app(aim.ip, 8080, () => {})
  const on = await session(aim)
  await new Promise((resolve) => on.once('remoteSettings', resolve))
  const headers = { ':method': 'CONNECT', ':authority': `${aim.ip}:8080` }
  const open = Array.from({ length: 230 }, () => on.request(headers, { endStream: false }))
  let answered = 0
  for (const stream of open) {
    stream.on('error', () => {})
    stream.once('response', () => answered++)
    stream.resume()
  }
  await until('as many as announced', () => answered === LIMITS.serverStreamsMax)
  t.is(aim.node.plane.stats().connections, LIMITS.serverStreamsMax)
  await until('the application to have them', () => web.sockets.length === answered)
  for (const stream of open.slice(0, 100)) stream.end()
  for (const socket of web.sockets) socket.end()
  await until('the rest to have their turn', () => answered === 230)
  on.destroy()
  await web.close()
  await aim.close()
})

test('reports and ends a client without a certificate', async (t) => {
  const aim = await target(t)
  const context = createSecureContext({ minVersion: 'TLSv1.3' })
  const socket = await dialTls(aim.ip, {
    secureContext: context,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
  })
  socket.on('error', () => {})
  await until('the end', () => socket.destroyed)
  await until('the report', () => aim.node.entries.length === 1)
  t.is(aim.node.entries[0]?.reason, 'identity-invalid')
  t.is(aim.node.entries[0]?.flag, 'TLS_FAILURE')
  await aim.close()
})

test('reports and ends a client that does not speak TLS', async (t) => {
  const aim = await target(t)
  const socket = connectTcp(LIMITS.hbonePort, aim.ip)
  socket.on('error', () => {})
  socket.write('CONNECT 10.0.0.1:80 HTTP/1.1\r\n\r\n')
  await until('the end', () => socket.destroyed)
  await until('the report', () => aim.node.entries.length === 1)
  t.is(aim.node.entries[0]?.reason, 'tls-failed')
  await aim.close()
})

test('survives a client that breaks the protocol in the middle of requests', async (t) => {
  const aim = await target(t)
  const web = await app(aim.ip, 8080, (socket) => socket.pipe(socket))
  const { node, ip } = aim
  const check = { expected: [spiffe('b')], nowMs: () => Date.now() }
  const socket = await dialTls(ip, clientTlsOptions(held(node.identities, CLIENT), check))
  socket.on('error', () => {})
  socket.resume()
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  // A SETTINGS frame, then HEADERS on an even stream with a length that lies.
  socket.write(Buffer.from('000000040000000000', 'hex'))
  socket.write(Buffer.from('00000501040000000200ffffffff', 'hex'))
  await until('the session to end', () => socket.destroyed || socket.readableEnded)
  const on = await session(aim)
  const head = await ask(on, { ':method': 'CONNECT', ':authority': `${ip}:8080` })
  t.is(Number(head[':status']), 200)
  on.destroy()
  await web.close()
  await aim.close()
})
