import test from 'ava'
import { forgeRoot } from '../identity/testing/certificates.ts'
import { parseSpiffeId } from '../model/spiffe-id.ts'
import { Client } from './testing/client.ts'
import { until } from './testing/conditions.ts'
import { give, spiffe } from './testing/identities.ts'
import { app, type Mesh, service, startNode, tablesOf, workload } from './testing/world.ts'

let block = 0

/** Caller `a` and server `b` behind the service `web`, at addresses of their own. */
function shop() {
  const at = ++block
  const ip = { a: `127.11.${at}.1`, b: `127.11.${at}.2`, outside: `127.11.${at}.9` }
  const key = 'default/web.default.svc.cluster.local'
  const a = workload('a', ip.a)
  const b = workload('b', ip.b, { services: { [key]: [{ servicePort: 80, targetPort: 8080 }] } })
  const vip = `10.97.${at}.1`
  const mesh: Mesh = { workloads: [a, b], services: [service('web', vip, [[80, 8080]], [b])] }
  return { ip, a, b, vip, mesh }
}

test('new certificates retire sessions at both ends, and open connections go on', async (t) => {
  const { ip, a, b, vip, mesh } = shop()
  const node = await startNode(tablesOf(1, mesh), mesh.workloads)
  t.teardown(() => node.close())
  const web = await app(ip.b, 8080, (socket) => socket.pipe(socket))
  await node.expose(b)
  const port = await node.capture(a, vip, 80)
  const old = new Client(ip.a, port)
  old.socket.write('x')
  await until('the echo', () => old.bytes === 1)
  await give(node.identities, spiffe('a'), 2)
  await give(node.identities, spiffe('b'), 2)
  const fresh = new Client(ip.a, port)
  t.is((await fresh.ask('new')).toString(), 'new')
  t.is(node.plane.stats().tunnels.sessions, 2)
  t.is((await old.ask('still')).toString(), 'xstill')
  await until('the old session to go', () => node.plane.stats().tunnels.sessions === 1)
  await until('at both ends', () => node.plane.stats().inboundSessions === 1)
  t.true(node.entries.every((entry) => entry.reason === 'completed'))
  await web.close()
})

test('a root that is added disturbs nobody; one that goes ends its sessions at once', async (t) => {
  const { ip, a, b, vip, mesh } = shop()
  const node = await startNode(tablesOf(1, mesh), mesh.workloads)
  t.teardown(() => node.close())
  const web = await app(ip.b, 8080, (socket) => socket.pipe(socket))
  await node.expose(b)
  const port = await node.capture(a, vip, 80)
  const other = await forgeRoot()
  const old = new Client(ip.a, port)
  old.socket.write('x')
  await until('the echo', () => old.bytes === 1)
  for (const name of ['a', 'b']) await give(node.identities, spiffe(name), 2, [other])
  old.socket.write('y')
  await until('the echo under both roots', () => old.bytes === 2)
  // The first root goes; the certificates are of the other one now.
  for (const name of ['a', 'b']) await give(node.identities, spiffe(name), 3, [], other)
  await until('the reset', () => old.closed)
  t.is((await new Client(ip.a, port).ask('new')).toString(), 'new')
  await web.close()
})

test('a workload without a certificate calls nobody', async (t) => {
  const { ip, a, vip, mesh } = shop()
  const node = await startNode(tablesOf(1, mesh), [])
  t.teardown(() => node.close())
  const port = await node.capture(a, vip, 80)
  await new Client(ip.a, port).over()
  const entry = await node.entry(0)
  t.is(entry.reason, 'identity-unavailable')
  t.is(entry.flag, 'IDENTITY_ERROR')
  t.truthy(parseSpiffeId(entry.detail?.split(': ')[0] ?? ''))
})

test('a connection that comes before its workload is known waits for it', async (t) => {
  const { ip, a, mesh } = shop()
  const web = await app(ip.outside, 9090, (socket) => socket.end('hello'))
  const node = await startNode(tablesOf(1, { workloads: [] }), mesh.workloads)
  t.teardown(() => node.close())
  const port = await node.capture(a, ip.outside, 9090)
  const caller = new Client(ip.a, port)
  await until('the agent to have it', () => node.plane.stats().connections === 1)
  node.plane.setTables(tablesOf(2, mesh))
  t.is((await caller.ask('')).toString(), 'hello')
  await web.close()
})

test('a recheck ends what has become outside the mesh', async (t) => {
  const { ip, a, mesh } = shop()
  const web = await app(ip.outside, 9090, (socket) => socket.write('hello'))
  const node = await startNode(tablesOf(1, mesh), mesh.workloads)
  t.teardown(() => node.close())
  const port = await node.capture(a, ip.outside, 9090)
  const caller = new Client(ip.a, port)
  await until('the greeting', () => caller.bytes === 5)
  t.is(node.plane.recheck(), 0)
  const settings = { outboundTrafficPolicy: 'registry-only' } as const
  node.plane.setTables(tablesOf(2, { ...mesh, settings }))
  t.is(node.plane.recheck(), 1)
  t.is(node.plane.recheck(), 0)
  await until('the reset', () => caller.closed)
  t.is((await node.entry(0)).reason, 'policy-changed')
  await web.close()
})

test('without a readable original destination nothing is guessed', async (t) => {
  const { ip, a, mesh } = shop()
  const node = await startNode(tablesOf(1, mesh), mesh.workloads)
  t.teardown(() => node.close())
  for (const [at, [origin, reason]] of (
    [
      [{ ip: '', port: 80 }, 'original-unknown'],
      [{ ip: '10.0.0.1', port: 0 }, 'original-unknown'],
      [{ ip: 'nonsense', port: 80 }, 'original-unknown'],
    ] as const
  ).entries()) {
    const port = await node.capture(a, origin.ip, origin.port)
    const caller = new Client(ip.a, port)
    await until('the reset', () => caller.closed)
    t.is((await node.entry(at)).reason, reason)
  }
})

test('a defect ends its own connection, with a stack in the log, and no other', async (t) => {
  const { ip, a, mesh } = shop()
  const web = await app(ip.outside, 9090, (socket) => socket.end('hello'))
  const node = await startNode(tablesOf(1, mesh), mesh.workloads)
  t.teardown(() => node.close())
  const broken = await node.captureBroken(a)
  const caller = new Client(ip.a, broken)
  await until('the reset', () => caller.closed)
  t.is(caller.error, 'ECONNRESET')
  t.is((await node.entry(0)).reason, 'internal')
  t.is(node.log.entries[0]?.event, 'proxy.internal')
  t.regex(String(node.log.entries[0]?.fields.stack), /original-destination/)
  const port = await node.capture(a, ip.outside, 9090)
  t.is((await new Client(ip.a, port).ask('')).toString(), 'hello')
  await web.close()
})

test('takes over what a dead worker had not accepted, and then lets go', async (t) => {
  const { ip, a, mesh } = shop()
  const web = await app(ip.outside, 9090, (socket) => socket.end('hello'))
  const node = await startNode(tablesOf(1, mesh), mesh.workloads)
  t.teardown(() => node.close())
  const orphan = await node.orphan(a, ip.outside, 9090)
  const callers = Array.from({ length: 20 }, () => new Client(ip.a, orphan.port))
  await until('all to be queued', () => callers.every(({ socket }) => !socket.connecting))
  t.is(node.plane.stats().connections, 0)
  const drained = node.plane.drainBacklog(orphan.pod, [{ class: 'outbound', fd: orphan.fd }])
  for (const caller of callers) t.is((await caller.ask('')).toString(), 'hello')
  await drained
  const late = new Client(ip.a, orphan.port)
  await until('the late one to connect', () => !late.socket.connecting)
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
  t.is(node.entries.length, 20)
  late.socket.destroy()
  await web.close()
})

test('refuses what is more than it may serve, and serves again when there is room', async (t) => {
  const { ip, a, b, mesh, vip } = shop()
  const client = await startNode(tablesOf(1, mesh), mesh.workloads, { connectionsMax: 2 })
  const server = await startNode(tablesOf(1, mesh), mesh.workloads, { connectionsMax: 2 })
  t.teardown(() => client.close())
  t.teardown(() => server.close())
  const web = await app(ip.b, 8080, (socket) => socket.pipe(socket))
  await server.expose(b)
  const port = await client.capture(a, vip, 80)
  const first = new Client(ip.a, port)
  first.socket.write('1')
  await until('the first', () => first.bytes === 1)
  // The server's session counts too, so that its second connection is one too many there.
  await new Client(ip.a, port).over()
  t.is((await server.entry(0)).reason, 'overloaded')
  const refused = await client.entry(0)
  t.is(refused.reason, 'peer-refused')
  t.is((await first.ask('')).toString(), '1')
  t.is((await new Client(ip.a, port).ask('again')).toString(), 'again')
  const held = [new Client(ip.a, port), new Client(ip.a, port), new Client(ip.a, port)]
  await until('one too many', () => client.entries.some(({ reason }) => reason === 'overloaded'))
  for (const { socket } of held) socket.destroy()
  await web.close()
})
