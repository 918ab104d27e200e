import test, { type ExecutionContext } from 'ava'
import { type AuthorizationPolicy, EMPTY_MATCH, type PolicyMatch } from '../model/authorization.ts'
import type { TableWorkload } from '../model/tables.ts'
import { Client } from './testing/client.ts'
import { pattern } from './testing/collector.ts'
import { until } from './testing/conditions.ts'
import {
  app,
  type Mesh,
  type Node,
  service,
  startNode,
  tablesOf,
  workload,
} from './testing/world.ts'

// Each test has addresses of its own, so that all may run at once.
let block = 0
function addresses(): { readonly a: string; readonly b: string; readonly c: string; vip: string } {
  const at = ++block
  return { a: `127.9.${at}.1`, b: `127.9.${at}.2`, c: `127.9.${at}.3`, vip: `10.96.${at}.1` }
}

function policy(
  name: string,
  action: 'allow' | 'deny',
  match: Partial<PolicyMatch>,
): AuthorizationPolicy {
  return {
    key: `default/${name}`,
    name,
    namespace: 'default',
    action,
    rules: [{ clauses: [[{ ...EMPTY_MATCH, ...match }]] }],
    dryRun: false,
    origin: 'test',
  }
}

const principal = (value: string) => [{ kind: 'exact' as const, value }]

interface Nodes {
  readonly client: Node
  readonly server: Node
  close(): Promise<void>
}

async function nodes(t: ExecutionContext, mesh: Mesh): Promise<Nodes> {
  const tables = tablesOf(1, mesh)
  const client = await startNode(tables, mesh.workloads)
  const server = await startNode(tables, mesh.workloads)
  const close = async (): Promise<void> => {
    await client.close()
    await server.close()
  }
  t.teardown(close)
  return { client, server, close }
}

interface Shop {
  readonly a: TableWorkload
  readonly b: TableWorkload
  readonly mesh: Mesh
  readonly vip: string
}

function shop(more: Partial<TableWorkload> = {}): Shop {
  const at = addresses()
  const key = 'default/web.default.svc.cluster.local'
  const a = workload('a', at.a)
  const pairs = { [key]: [{ servicePort: 80, targetPort: 8080 }] }
  const b = workload('b', at.b, { services: pairs, ...more })
  const web = service('web', at.vip, [[80, 8080]], [b])
  return { a, b, vip: at.vip, mesh: { workloads: [a, b], services: [web] } }
}

test('carries a connection to a service through a tunnel and reports it once at each end', async (t) => {
  const { a, b, mesh, vip } = shop()
  const { client, server, close } = await nodes(t, mesh)
  const web = await app(b.addresses[0] ?? '', 8080, (socket) => socket.pipe(socket))
  await server.expose(b)
  const port = await client.capture(a, vip, 80)
  const body = pattern(1_500_000)
  const caller = new Client(a.addresses[0] ?? '', port, a.addresses[0])
  t.true(body.equals(await caller.ask(body)))
  const out = await client.entry(0)
  const into = await server.entry(0)
  t.is(out.reason, 'completed')
  t.is(out.path, 'tunnel')
  t.is(out.destination.ip, vip)
  t.is(out.destination.service, 'web.default.svc.cluster.local')
  t.is(out.destination.endpoint, `${b.addresses[0]}:8080`)
  t.is(out.destination.identity, 'spiffe://cluster.local/ns/default/sa/b')
  t.is(out.sentBytes, body.length)
  t.is(out.receivedBytes, body.length)
  t.is(into.reason, 'completed')
  t.is(into.source.identity, 'spiffe://cluster.local/ns/default/sa/a')
  t.is(into.source.workload, 'a')
  t.is(into.destination.port, 8080)
  t.is(into.sentBytes, body.length)
  await web.close()
  await close()
  t.is(client.entries.length, 1)
  t.is(server.entries.length, 1)
})

test('shows the workload the address of the caller', async (t) => {
  const { a, b, mesh, vip } = shop()
  const { client, server, close } = await nodes(t, mesh)
  const web = await app(b.addresses[0] ?? '', 8080, (socket) =>
    socket.end(`${socket.remoteAddress}`),
  )
  await server.expose(b)
  const port = await client.capture(a, vip, 80)
  t.is((await new Client(a.addresses[0] ?? '', port).ask('')).toString(), a.addresses[0] ?? '')
  await web.close()
  await close()
})

test('does not let a denied connection leave', async (t) => {
  const { a, b, mesh, vip } = shop({ policies: ['default/no-a'] })
  const deny = policy('no-a', 'deny', { principals: principal('cluster.local/ns/default/sa/a') })
  const { client, server, close } = await nodes(t, { ...mesh, policies: [deny] })
  await server.expose(b)
  const port = await client.capture(a, vip, 80)
  const caller = new Client(a.addresses[0] ?? '', port)
  await until('the reset', () => caller.closed)
  t.is(caller.error, 'ECONNRESET')
  const out = await client.entry(0)
  t.is(out.reason, 'policy-denied')
  t.is(out.flag, 'DENY')
  t.is(out.policy, 'default/no-a')
  t.is(client.plane.stats().tunnels.sessions, 0)
  t.is(server.entries.length, 0)
  await close()
})

test('denies at the destination what the source let pass', async (t) => {
  const { a, b, mesh, vip } = shop()
  const guarded = { ...b, policies: ['default/only-c'] }
  const only = policy('only-c', 'allow', { principals: principal('cluster.local/ns/default/sa/c') })
  const { client, server, close } = await nodes(t, mesh)
  server.plane.setTables(tablesOf(2, { ...mesh, workloads: [a, guarded], policies: [only] }))
  await server.expose(b)
  const port = await client.capture(a, vip, 80)
  const caller = new Client(a.addresses[0] ?? '', port)
  await until('the reset', () => caller.closed)
  t.is((await client.entry(0)).reason, 'peer-denied')
  const into = await server.entry(0)
  t.is(into.reason, 'policy-denied')
  t.is(into.policy, 'no-allow-matched')
  await close()
})

test('denies at the destination when a policy it was told of is missing', async (t) => {
  const { a, b, mesh, vip } = shop({ policies: ['default/lost'] })
  const { client, server, close } = await nodes(t, mesh)
  await server.expose(b)
  const port = await client.capture(a, vip, 80)
  await new Client(a.addresses[0] ?? '', port).over()
  t.is((await client.entry(0)).reason, 'peer-denied')
  t.is((await server.entry(0)).policy, 'default/lost')
  await close()
})

for (const mode of ['strict', 'permissive'] as const) {
  test(`plaintext from outside under ${mode}`, async (t) => {
    const { b, mesh } = shop({ peer: { mode, ports: {}, by: 'default/peer' } })
    const { server, close } = await nodes(t, mesh)
    const ip = b.addresses[0] ?? ''
    const web = await app(ip, 8080, (socket) => socket.end(`hello ${socket.remoteAddress}`))
    const outsider = addresses().a
    const port = await server.exposePlaintext(b, 8080)
    const caller = new Client(ip, port, outsider)
    const answer = (await caller.ask('')).toString()
    const entry = await server.entry(0)
    t.is(entry.path, 'plaintext')
    t.is(entry.source.identity, undefined)
    t.is(answer, mode === 'strict' ? '' : `hello ${outsider}`)
    t.is(entry.reason, mode === 'strict' ? 'plaintext-denied' : 'completed')
    if (mode === 'strict') t.is(entry.policy, 'default/peer')
    await web.close()
    await close()
  })
}

test('drops plaintext for a port of the mesh', async (t) => {
  const { b, mesh } = shop()
  const { server, close } = await nodes(t, mesh)
  for (const [at, port] of [15_001, 15_006, 15_008, 15_101, 15_132].entries()) {
    const entry = await server.exposePlaintext(b, port)
    const caller = new Client(b.addresses[0] ?? '', entry)
    await caller.over()
    t.is((await server.entry(at)).reason, 'illegal-port', `${port}`)
  }
  await close()
})

test('delivers nothing that met the listener itself, on loopback', async (t) => {
  const { b, mesh } = shop()
  const { server, close } = await nodes(t, mesh)
  const entry = await server.exposePlaintext(b, 40_000, '127.0.0.1')
  const caller = new Client(b.addresses[0] ?? '', entry)
  await caller.over()
  t.is((await server.entry(0)).reason, 'illegal-port')
  await close()
})

test('ends a live connection when a change of policy forbids it', async (t) => {
  const { a, b, mesh, vip } = shop()
  const { client, server, close } = await nodes(t, mesh)
  const web = await app(b.addresses[0] ?? '', 8080, (socket) => socket.write('hello'))
  await server.expose(b)
  const port = await client.capture(a, vip, 80)
  const caller = new Client(a.addresses[0] ?? '', port)
  await until('the greeting', () => caller.bytes === 5)
  const guarded = { ...b, policies: ['default/no-a'] }
  const deny = policy('no-a', 'deny', { principals: principal('cluster.local/ns/default/sa/a') })
  const next = { ...mesh, workloads: [a, guarded], policies: [deny] }
  t.is(server.plane.recheck(), 0)
  server.plane.setTables(tablesOf(2, next))
  t.is(server.plane.recheck(), 1)
  await until('the reset', () => caller.closed)
  t.is(caller.error, 'ECONNRESET')
  const into = await server.entry(0)
  t.is(into.reason, 'policy-changed')
  t.is((await client.entry(0)).reason, 'upstream-reset')
  t.is(server.plane.recheck(), 0)
  await web.close()
  await close()
})

test('tries another endpoint while no byte was sent', async (t) => {
  const at = addresses()
  const key = 'default/web.default.svc.cluster.local'
  const pairs = { [key]: [{ servicePort: 80, targetPort: 8080 }] }
  const a = workload('a', at.a)
  const b = workload('b', at.b, { services: pairs, capacity: 1_000_000 })
  const c = workload('c', at.c, { services: pairs })
  const web = service('web', at.vip, [[80, 8080]], [b, c])
  const { client, server, close } = await nodes(t, { workloads: [a, b, c], services: [web] })
  const apps = await app(at.c, 8080, (socket) => socket.end('from c'))
  await server.expose(c)
  const port = await client.capture(a, at.vip, 80)
  t.is((await new Client(at.a, port).ask('')).toString(), 'from c')
  const out = await client.entry(0)
  t.is(out.attempts, 2)
  t.is(out.reason, 'completed')
  await apps.close()
  await close()
})

test('never falls back to plaintext', async (t) => {
  const { a, b, mesh, vip } = shop()
  const { client, close } = await nodes(t, mesh)
  let reached = 0
  const web = await app(b.addresses[0] ?? '', 8080, () => reached++)
  const port = await client.capture(a, vip, 80)
  await new Client(a.addresses[0] ?? '', port).over()
  const out = await client.entry(0)
  t.is(out.reason, 'connect-failed')
  t.is(reached, 0)
  await web.close()
  await close()
})

test('passes through what the mesh does not know, or refuses it under REGISTRY_ONLY', async (t) => {
  const { a, mesh } = shop()
  const outside = addresses().a
  const web = await app(outside, 9090, (socket) => socket.end('outside'))
  const { client, close } = await nodes(t, mesh)
  const port = await client.capture(a, outside, 9090)
  t.is((await new Client(a.addresses[0] ?? '', port).ask('')).toString(), 'outside')
  t.is((await client.entry(0)).path, 'passthrough')
  client.plane.setTables(
    tablesOf(2, { ...mesh, settings: { outboundTrafficPolicy: 'registry-only' } }),
  )
  await new Client(a.addresses[0] ?? '', port).over()
  t.is((await client.entry(1)).reason, 'outbound-refused')
  await web.close()
  await close()
})

test('delivers a call of a workload to itself, with policy', async (t) => {
  const { b, mesh, vip } = shop()
  const { client, close } = await nodes(t, mesh)
  const web = await app(b.addresses[0] ?? '', 8080, (socket) => socket.end('me'))
  const port = await client.capture(b, vip, 80)
  t.is((await new Client(b.addresses[0] ?? '', port).ask('')).toString(), 'me')
  t.is((await client.entry(0)).path, 'self')
  const guarded = { ...b, policies: ['default/nobody'] }
  const nobody = policy('nobody', 'allow', { principals: principal('nobody') })
  client.plane.setTables(tablesOf(2, { ...mesh, workloads: [guarded], policies: [nobody] }))
  await new Client(b.addresses[0] ?? '', port).over()
  t.is((await client.entry(1)).reason, 'policy-denied')
  await web.close()
  await close()
})

test('passes a reset by the server on as a reset, and by the client likewise', async (t) => {
  const { a, b, mesh, vip } = shop()
  const { client, server, close } = await nodes(t, mesh)
  const web = await app(b.addresses[0] ?? '', 8080, (socket) => {
    socket.once('data', (chunk) => {
      if (chunk.toString() === 'break') socket.resetAndDestroy()
      else socket.write('ok')
    })
  })
  await server.expose(b)
  const port = await client.capture(a, vip, 80)
  const first = new Client(a.addresses[0] ?? '', port)
  first.socket.write('break')
  await until('the reset', () => first.closed)
  t.is(first.error, 'ECONNRESET')
  t.false(first.ended)
  t.is((await client.entry(0)).reason, 'upstream-reset')
  const second = new Client(a.addresses[0] ?? '', port)
  second.socket.write('talk')
  await until('the answer', () => second.bytes === 2)
  second.socket.resetAndDestroy()
  t.is((await client.entry(1)).reason, 'downstream-reset')
  await until('both server entries', () => server.entries.length === 2)
  t.is(server.entries[1]?.reason, 'downstream-reset')
  await web.close()
  await close()
})

test('ends the connections of a workload that leaves, with that reason', async (t) => {
  const { a, b, mesh, vip } = shop()
  const { client, server, close } = await nodes(t, mesh)
  const web = await app(b.addresses[0] ?? '', 8080, (socket) => socket.write('hi'))
  await server.expose(b)
  const port = await client.capture(a, vip, 80)
  const caller = new Client(a.addresses[0] ?? '', port)
  await until('the greeting', () => caller.bytes === 2)
  await client.plane.unlisten(a.uid, 'workload-removed')
  t.is((await client.entry(0)).reason, 'workload-removed')
  t.is(client.plane.stats().tunnels.sessions, 0)
  await until('the reset', () => caller.closed)
  await web.close()
  await close()
})

test('drains: finishes what it can, then forces and counts the rest', async (t) => {
  const { a, b, mesh, vip } = shop()
  const { client, server, close } = await nodes(t, mesh)
  const web = await app(b.addresses[0] ?? '', 8080, (socket) => socket.pipe(socket))
  await server.expose(b)
  const port = await client.capture(a, vip, 80)
  const polite = new Client(a.addresses[0] ?? '', port)
  const stubborn = new Client(a.addresses[0] ?? '', port)
  polite.socket.write('x')
  stubborn.socket.write('x')
  await until('both', () => polite.bytes + stubborn.bytes === 2)
  const drained = server.plane.drain(300)
  t.is((await polite.ask('bye')).toString(), 'xbye')
  t.is(await drained, 1)
  await until('the reset', () => stubborn.closed)
  t.deepEqual(server.entries.map((entry) => entry.reason).sort(), ['completed', 'draining'])
  await web.close()
  await close()
})
