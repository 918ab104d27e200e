import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { manualClock } from '../base/clock.ts'
import { memoryLog } from '../base/log.ts'
import { AdminAnswers } from './answers.ts'
import { AdminClient } from './client.ts'
import type { AdminPort } from './port.ts'
import { AdminServer } from './server.ts'
import { ADMIN_SOCKET, shortened } from './socket.ts'
import { adminPort, flowRow, sliceOf } from './testing/port.ts'

function place(t: ExecutionContext, below = ''): { state: string; path: string } {
  const root = mkdtempSync(join(tmpdir(), 'weft-admin-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  const state = join(root, below)
  mkdirSync(state, { recursive: true })
  return { state, path: join(state, ADMIN_SOCKET) }
}

function serverAt(path: string, port: AdminPort = adminPort()): AdminServer {
  const answers = new AdminAnswers(port, manualClock(5_000))
  return new AdminServer({ answers, log: memoryLog() }, { path })
}

async function started(t: ExecutionContext, path: string, port?: AdminPort): Promise<AdminServer> {
  const server = serverAt(path, port)
  await server.start()
  t.teardown(() => server.stop())
  return server
}

function ask(socketPath: string, method: string, path: string): Promise<[number, string, string]> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method, path, agent: false }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        body += part
      })
      const type = String(response.headers['content-type'])
      response.on('end', () => resolve([response.statusCode ?? 0, type, body]))
    })
    asked.on('error', reject).end()
  })
}

test('answers what it is asked, to the owner only, and leaves nothing', async (t) => {
  const { state, path } = place(t)
  const flows = [flowRow({ uid: 'a', workload: 'a' }, { uid: 'b', workload: 'b' })]
  const survey = async () => ({ slices: [sliceOf({ flows })], silent: [] })
  const server = await started(t, path, adminPort({ survey }))
  t.is(statSync(path).mode & 0o777, 0o600)
  const client = new AdminClient(state)
  t.like(await client.status(), { node: 'one', version: '1.2.3', config: { state: 'none' } })
  t.like(await client.workloads({ all: true }), { workloads: [], leftOut: 0 })
  t.like(await client.certificates(), { certificates: [] })
  const plain = await client.connections()
  t.like(plain.flows[0], { source: { uid: 'a' }, destination: { port: 80 }, opened: 1 })
  t.is(plain.live, undefined)
  t.deepEqual((await client.connections({ live: true })).live, [])
  await server.stop()
  t.throws(() => statSync(path), { code: 'ENOENT' })
  await t.throwsAsync(client.status(), {
    code: 'admin.unreachable',
    message: `no agent answers in ${state}: start one with \`weft up\`, or name its state directory with --state`,
  })
})

const WRONG = [
  ['GET', '/v2/status', 404, 'there is nothing at this path'],
  ['POST', '/v1/status', 405, '/v1/status can only be read'],
  ['DELETE', '/v1/connections?live', 405, '/v1/connections can only be read'],
  ['GET', '/v1/connections?lief', 400, '/v1/connections knows no parameter lief'],
] as const

for (const [method, path, status, error] of WRONG) {
  test(`${method} ${path} is answered ${status}, with a remedy`, async (t) => {
    const at = place(t).path
    await started(t, at)
    const [code, type, body] = await ask(at, method, path)
    t.is(code, status)
    t.regex(type, /^application\/json/)
    const told = JSON.parse(body) as { error: string; remedy: string }
    t.is(told.error, error)
    t.truthy(told.remedy)
  })
}

test('what fails inside is told in one sentence, and the next is answered', async (t) => {
  const { state, path } = place(t)
  let fails = true
  const survey: AdminPort['survey'] = async () => {
    if (fails) throw new Error('no worker')
    return { slices: [], silent: [] }
  }
  await started(t, path, adminPort({ survey }))
  const client = new AdminClient(state)
  await t.throwsAsync(client.connections(), {
    code: 'admin.refused',
    message: "the agent says: no worker: ask again; the agent's log says more",
  })
  fails = false
  t.deepEqual((await client.connections()).flows, [])
})

test('the socket of a dead agent is replaced; that of a living one is not', async (t) => {
  const { state, path } = place(t)
  const dead = createServer()
  await new Promise<void>((resolve) => dead.listen(join(state, 'dead'), resolve))
  // A crash leaves the name behind: nobody listens there.
  const { renameSync } = await import('node:fs')
  renameSync(join(state, 'dead'), path)
  await new Promise((resolve) => dead.close(resolve))
  t.true(statSync(path).isSocket())
  const first = await started(t, path)
  const second = serverAt(path)
  await t.throwsAsync(second.start(), {
    code: 'admin.socket',
    message: `another agent serves ${path}: stop it first, or give this one another --state`,
  })
  t.is((await new AdminClient(state).status()).node, 'one')
  // The loser takes nothing away.
  await second.stop()
  t.is((await new AdminClient(state).status()).node, 'one')
  await first.stop()
})

test('what is no socket is left alone', async (t) => {
  const { path } = place(t)
  writeFileSync(path, 'notes')
  await t.throwsAsync(serverAt(path).start(), { code: 'admin.socket', message: /is not a socket/ })
  t.is(statSync(path).size, 5)
})

test('a path longer than the kernel takes is served and reached all the same', async (t) => {
  const { state, path } = place(t, 'd'.repeat(90))
  t.true(path.length > 107)
  await started(t, path)
  t.is((await new AdminClient(state).status()).node, 'one')
})

test('clients that never read or never ask hold up nobody, and are limited', async (t) => {
  const { state, path } = place(t)
  await started(t, path)
  const short = shortened(path)
  const idle = Array.from({ length: 20 }, () => connect(short.path))
  t.teardown(() => {
    for (const socket of idle) socket.destroy()
  })
  for (const socket of idle) {
    socket.on('error', () => {})
    socket.pause()
    socket.write('GET /v1/status HTTP/1.1\r\n')
  }
  t.is((await new AdminClient(state).status()).node, 'one')
  const more = Array.from({ length: 30 }, () => connect(short.path))
  const dropped = await Promise.race(
    more.map(
      (socket) =>
        new Promise((resolve) => socket.on('error', () => {}).on('close', () => resolve(true))),
    ),
  )
  t.true(dropped)
  for (const socket of more) socket.destroy()
})
