// Who knocks at a workload's tunnel door, and at the agent's own listeners: from outside the mesh
// with forged certificates, and from inside the pod. What may not enter is refused with its status
// and reason, and the same knock with everything right is let in.

import { fileURLToPath } from 'node:url'
import test from 'ava'
import {
  DAY_MS,
  type Forged,
  forgeLeaf,
  forgeRoot,
  forgeRootNamedLike,
  SERVER_AUTH,
} from '../../src/identity/testing/certificates.ts'
import { authorizationPolicy } from '../lab/mesh-config.ts'
import type { Pod } from '../lab/pod.ts'
import { client, PYTHON, server } from '../lab/programs.ts'
import { call, Mesh, serve } from '../mesh/mesh.ts'
import {
  type CertificateFiles,
  connectTo,
  type DoorReport,
  type DoorRequest,
  dial,
  HBONE_PORT,
  intermediateFiles,
  rootOf,
  writeLeaf,
} from './door.ts'

const ECHO = 7000
const CLOSED = 7999
const DENIED = 7001
/** Names of the ambient mesh's listeners, and ours. */
const MESH_PORTS = [15_001, 15_006, HBONE_PORT, 15_101, 15_132]
const SQUATTED = [...MESH_PORTS, ...Array.from({ length: 30 }, (_, at) => 15_102 + at)]
const SQUAT = fileURLToPath(new URL('programs/squat.py', import.meta.url))
const CALLER = 'spiffe://cluster.local/ns/default/sa/far'

let mesh: Mesh
/** Whose door is knocked at. */
let door: Pod
let neighbour: Pod
/** On the other node; the identity that the good certificate names. */
let far: Pod
/** Listens on the agent's ports since before it was enrolled. */
let squatter: Pod
let squat: Awaited<ReturnType<Pod['run']>>
let good: CertificateFiles

test.before(async () => {
  mesh = await Mesh.open()
  const { one, two, lab } = mesh
  door = await mesh.pod(one, 'door')
  neighbour = await mesh.pod(one, 'neighbour')
  far = await mesh.pod(two, 'far')
  squatter = await mesh.pod(one, 'squatter')
  lab.config.write('denied.yaml', [
    authorizationPolicy('denied', 'default', {
      selector: { matchLabels: { app: 'door' } },
      action: 'DENY',
      rules: [{ to: [{ operation: { ports: [String(DENIED)] } }] }],
    }),
  ])
  const argv = [PYTHON, '-u', SQUAT, ...SQUATTED.map(String)]
  squat = await squatter.run(argv, { waitFor: 'squatting' })
  await mesh.start()
  await serve(door, server('echo', ECHO), server('echo', DENIED))
  await serve(neighbour, server('echo', ECHO))
  await serve(far, server('echo', ECHO))
  await serve(squatter, server('echo', ECHO))
  good = await forged({ uris: [CALLER] })
})

test.after.always(() => mesh?.close())

async function forged(how: Forged): Promise<CertificateFiles> {
  return writeLeaf(mesh.lab, await forgeLeaf(rootOf(mesh.lab), how))
}

/** From the other node itself, which is no workload. */
const knock = (certificate: CertificateFiles | undefined, requests: readonly DoorRequest[] = []) =>
  dial(mesh.two, door.ip, { requests, ...(certificate === undefined ? {} : { certificate }) })

const letIn = (
  t: { true(value: boolean): void; is(a: unknown, b: unknown): void },
  at: DoorReport,
) => {
  t.is(at.tls, 'TLSv1.3 h2')
  t.true(at.accepted === true)
  t.is(at.answers[0]?.status, 200)
  t.is(at.answers[0]?.body, 'hello')
}

const hello = (): DoorRequest[] => [connectTo(`${door.ip}:${ECHO}`, 'hello')]

test('a certificate of the mesh opens the door', async (t) => {
  letIn(t, await knock(good, hello()))
  const entry = await mesh.lab.waitUntil(() => mesh.agents[0].accessLog().at(-1), 'an entry')
  t.is(entry.source.identity, CALLER)
})

const OTHER = 'spiffe://cluster.local/ns/default/sa/other'
const WRONG: Readonly<Record<string, () => Promise<CertificateFiles | undefined>>> = {
  'no certificate': async () => undefined,
  'a certificate of another root': async () =>
    writeLeaf(mesh.lab, await forgeLeaf(await forgeRoot(), { uris: [CALLER] })),
  'a certificate of a root that only bears the name of ours': async () =>
    writeLeaf(
      mesh.lab,
      await forgeLeaf(await forgeRootNamedLike(rootOf(mesh.lab)), { uris: [CALLER] }),
    ),
  'an identity of another trust domain': () =>
    forged({ uris: ['spiffe://elsewhere.example/ns/default/sa/far'] }),
  'two identities': () => forged({ uris: [CALLER, OTHER] }),
  'the same identity twice, in two extensions': () => forged({ uris: [CALLER], namesTwice: true }),
  'an identity beside another URI': () => forged({ uris: [CALLER, 'https://example.com/'] }),
  'no identity': () => forged({ dnsNames: ['far.default'] }),
  'a malformed identity': () => forged({ uris: ['spiffe://cluster.local/ns/default/far'] }),
  'an expired certificate': () =>
    forged({ uris: [CALLER], notBeforeMs: Date.now() - DAY_MS, notAfterMs: Date.now() - 60_000 }),
  'a certificate that is not valid yet': () =>
    forged({ uris: [CALLER], notBeforeMs: Date.now() + 60_000 }),
  'a certificate for servers only': () => forged({ uris: [CALLER], ekus: [SERVER_AUTH] }),
  'a certificate without a purpose': () => forged({ uris: [CALLER], ekus: undefined }),
  'the certificate of an authority': () => forged({ uris: [CALLER], isCa: true }),
  "a node's own intermediate": async () => intermediateFiles(mesh.lab, 'two'),
}

for (const [name, make] of Object.entries(WRONG)) {
  test(`${name} is turned away in the handshake`, async (t) => {
    const [agent] = mesh.agents
    const before = agent.accessLog().length
    const report = await knock(await make(), hello())
    t.not(report.accepted, true)
    t.deepEqual(report.answers, [])
    const entry = await mesh.lab.waitUntil(() => agent.accessLog()[before], 'an entry')
    t.is(entry.reason, 'identity-invalid', entry.detail)
    t.is(entry.source.identity, undefined)
    t.is(entry.source.ip, mesh.two.ip)
  })
}

const PROTOCOLS: Readonly<Record<string, object>> = {
  'TLS 1.2': { maxVersion: 'TLSv1.2' },
  'no protocol': { ALPNProtocols: [] },
  'HTTP/1.1': { ALPNProtocols: ['http/1.1'] },
  'a suite of its own': { ciphers: 'TLS_CHACHA20_POLY1305_SHA256' },
  'a group of its own': { ecdhCurve: 'P-521' },
}

for (const [name, tls] of Object.entries(PROTOCOLS)) {
  test(`a good certificate over ${name} is turned away`, async (t) => {
    const report = await dial(mesh.two, door.ip, { certificate: good, tls, requests: hello() })
    t.not(report.accepted, true)
    t.deepEqual(report.answers, [])
  })
}

test('a client that speaks no TLS is turned away', async (t) => {
  const greeting = { message: 'CONNECT / HTTP/1.1\r\n\r\n', timeoutSeconds: 3 }
  t.false((await call(mesh.two, client('echo', door.ip, HBONE_PORT, greeting))).ok)
})

/** A request as it would be right, but for what a case changes. */
const REQUESTS: readonly (readonly [name: string, status: number, request: () => DoorRequest])[] = [
  ['the workload', 200, () => connectTo(`${door.ip}:${ECHO}`)],
  ['a pod of the same node', 400, () => connectTo(`${neighbour.ip}:${ECHO}`)],
  ['a pod of another node', 400, () => connectTo(`${far.ip}:${ECHO}`)],
  ['its other address', 400, () => connectTo(`[${door.v6}]:${ECHO}`)],
  ['loopback', 400, () => connectTo(`127.0.0.1:${ECHO}`)],
  ['everything', 400, () => connectTo(`0.0.0.0:${ECHO}`)],
  ['outside the mesh', 400, () => connectTo(`${mesh.two.ip}:${ECHO}`)],
  ['a name nobody has', 503, () => connectTo(`nobody.example:${ECHO}`)],
  ['localhost', 503, () => connectTo(`localhost:${ECHO}`)],
  ['a port nobody listens on', 503, () => connectTo(`${door.ip}:${CLOSED}`)],
  ['what a policy denies', 401, () => connectTo(`${door.ip}:${DENIED}`)],
  ['no port', 400, () => connectTo(door.ip)],
  ['a port beyond all', 400, () => connectTo(`${door.ip}:65536`)],
  ['port 0', 400, () => connectTo(`${door.ip}:0`)],
  ['an address that is none', 400, () => connectTo(`${door.ip}.9:${ECHO}`)],
  ...MESH_PORTS.map(
    (port) => [`the mesh's port ${port}`, 503, () => connectTo(`${door.ip}:${port}`)] as const,
  ),
]

for (const [name, status, request] of REQUESTS) {
  test(`CONNECT to ${name} is answered ${status}`, async (t) => {
    const { answers } = await knock(good, [request(), connectTo(`${door.ip}:${ECHO}`, 'hello')])
    t.is(answers[0]?.status, status)
    t.is(answers[1]?.body, 'hello', 'the session goes on')
  })
}

for (const method of ['GET', 'POST', 'OPTIONS', 'connect']) {
  test(`${method} is answered 400`, async (t) => {
    const authority = `${door.ip}:${ECHO}`
    const request = { ':method': method, ':authority': authority, ':scheme': 'https', ':path': '/' }
    t.is((await knock(good, [request])).answers[0]?.status, 400)
  })
}

/** Ports of the agent's listeners in the pod, as a program there finds them. */
async function loopbackListeners(pod: Pod): Promise<readonly (readonly [string, number])[]> {
  const { stdout } = await pod.exec(['ss', '-Hltn'])
  const found = [...stdout.matchAll(/(127\.0\.0\.1|\[::1\]):(\d+)/g)]
  return found.map(([, host = '', port]) => [host.replace(/[[\]]/g, ''), Number(port)])
}

test('a program that finds the listeners of the agent in its pod gets nothing of them', async (t) => {
  const [agent] = mesh.agents
  const listeners = await loopbackListeners(door)
  t.is(listeners.length, 2 * 3 * 2, 'workers, classes and families')
  for (const [host, port] of listeners) {
    const report = await call(door, client('echo', host, port, { timeoutSeconds: 5 }))
    t.false(report.ok, `${host} port ${port}`)
  }
  const entries = await mesh.lab.waitUntil(() => {
    const all = agent.accessLog().filter(({ source }) => ['127.0.0.1', '::1'].includes(source.ip))
    return all.length >= listeners.length ? all : undefined
  }, 'an entry of each')
  // One each: none was delivered to a listener again.
  const reasons = entries.map(({ reason }) => reason).sort()
  const each = (reason: string): string[] => Array(4).fill(reason)
  t.deepEqual(reasons, [
    ...each('illegal-port'),
    ...each('original-unknown'),
    ...each('tls-failed'),
  ] as typeof reasons)
})

test('even a certificate of the mesh does not make the loopback listener a way in', async (t) => {
  let answers = 0
  for (const [host, port] of await loopbackListeners(door)) {
    const where = host.includes(':') ? `[${host}]` : host
    const requests = [
      connectTo(`${where}:${ECHO}`),
      connectTo(`${door.ip}:${DENIED}`),
      connectTo(`${neighbour.ip}:${ECHO}`),
    ]
    const report = await dial(door, host, { port, certificate: good, requests })
    for (const { status } of report.answers) t.is(status, 400)
    answers += report.answers.length
  }
  t.is(answers, 4 * 3, 'those for tunnels do speak to it')
})

test('the virtual capture ports lead nowhere, from inside and from outside', async (t) => {
  const probe = (port: number) => client('echo', door.ip, port, { timeoutSeconds: 3 })
  for (const port of [15_101, 15_132]) {
    t.is((await call(door, probe(port))).error, 'ECONNRESET', 'no original destination')
    t.is((await call(mesh.two, probe(port))).error, 'ECONNREFUSED')
    t.is((await call(neighbour, probe(port))).error, 'ECONNRESET', "of the caller's own agent")
  }
  t.is((await call(mesh.two, probe(15_133))).error, 'ECONNRESET', 'plaintext, and nobody listens')
  t.true((await call(mesh.two, probe(ECHO))).ok)
})

test("squatting on the agent's ports catches nothing", async (t) => {
  const agents = (await loopbackListeners(squatter)).filter(([, port]) => !SQUATTED.includes(port))
  t.is(agents.length, 2 * 3 * 2)
  for (const [host, port] of agents) {
    const more = await squatter.exec([PYTHON, '-c', BIND, host, String(port)])
    t.is(more.stdout.trim(), 'EADDRINUSE', `port ${port}`)
  }
  const out = await call(squatter, client('echo', far.ip, ECHO))
  const tunnelled = await call(far, client('echo', squatter.ip, ECHO))
  const plain = await call(mesh.two, client('echo', squatter.ip, ECHO))
  t.true(out.ok && tunnelled.ok && plain.ok)
  t.is((await mesh.outbound(out)).path, 'tunnel')
  t.is((await mesh.outbound(tunnelled)).path, 'tunnel')
  for (const port of MESH_PORTS) {
    t.false((await call(mesh.two, client('echo', squatter.ip, port, { timeoutSeconds: 3 }))).ok)
    t.false((await call(far, client('echo', squatter.ip, port, { timeoutSeconds: 3 }))).ok)
  }
  t.false(squat.stdout.includes('caught'), squat.stdout)
  // The trap works: what stays on loopback is the pod's own affair.
  await call(squatter, client('connect', '127.0.0.1', 15_001))
  await squat.waitFor('caught 15001 from 127.0.0.1')
})

test("a pod cannot destroy the agent's listeners in its namespace", async (t) => {
  t.true((await call(far, client('echo', neighbour.ip, ECHO))).ok)
  await neighbour.exec(['ss', '-K', '-ltn'], { check: false })
  t.is((await loopbackListeners(neighbour)).length, 2 * 3 * 2)
  t.true((await call(neighbour, client('echo', far.ip, ECHO))).ok)
  t.false((await call(far, client('echo', neighbour.ip, ECHO))).ok, 'its own is gone')
})

/** Tries to share a port that somebody listens on, at its address and at all of them. */
const BIND = `
import errno, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
for host in (sys.argv[1], ""):
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, int(sys.argv[2])))
        sock.listen()
        print("bound", host)
    except OSError as error:
        found = errno.errorcode[error.errno]
print(found)
`
