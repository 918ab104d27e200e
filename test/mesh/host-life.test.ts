// What becomes of services on the node's network while everything around them changes: ports that
// close and open, services that restart, agents that die, enrolment in mid-life.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import type { HostService } from '../lab/host-service.ts'
import {
  authorizationPolicy,
  hostResource,
  meshConfig,
  peerAuthentication,
} from '../lab/mesh-config.ts'
import type { Pod } from '../lab/pod.ts'
import type { Program } from '../lab/program.ts'
import * as programs from '../lab/programs.ts'
import {
  call,
  Held,
  Mesh,
  principal,
  type Report,
  seenBy,
  serve,
  servicePort,
  spiffe,
} from './mesh.ts'

const WEFT = fileURLToPath(new URL('../../bin/weft.mjs', import.meta.url))
const WEB = 7100
const DB = 7200
const ECHO = 7250
/** Of web by configuration, and not open. */
const SPARE = 7260
/** Of nobody by configuration. */
const FREE = 7300
const LATE = 7350
const LONELY = 7360
const SSH = 2222

let mesh: Mesh
let web: HostService
let db: HostService
let client: Pod
let distant: HostService
/** Of web. */
let echo: Program
/** On the node of the services: it calls ports that only their node knows of. */
let local: HostService

test.before(async () => {
  mesh = await Mesh.open()
  const { one, two, lab } = mesh
  web = mesh.host(one, 'web', { ports: { echo: ECHO } })
  db = mesh.host(one, 'db')
  local = mesh.host(one, 'local')
  distant = mesh.host(two, 'distant')
  client = await mesh.pod(two, 'client')
  lab.config.write('mesh.yaml', [
    meshConfig({ enrolGraceMs: 0 }),
    peerAuthentication('default', 'default', { mtls: { mode: 'STRICT' } }),
    mesh.service('web', { app: 'web' }, [WEB, SPARE]),
    mesh.service('db', { app: 'db' }, [DB]),
  ])
  await mesh.start()
  await serve(web, programs.server('identity', WEB, { name: 'web' }))
  echo = await web.run(programs.server('echo', ECHO), { waitFor: programs.LISTENING })
  await serve(db, programs.server('identity', DB, { name: 'db' }))
  await one.run(programs.server('echo', SSH), { waitFor: programs.LISTENING })
})

test.after.always(() => mesh?.close())

type Caller = Parameters<typeof call>[0]

const ask = (from: Caller, host: string, port: number): Promise<Report> =>
  call(from, programs.client('banner', host, port, { timeoutSeconds: 5 }))

const askWeb = (from: Caller = client): Promise<Report> =>
  ask(from, mesh.vip('web').v4, servicePort(WEB))

/** Under whose identity the port was answered. */
async function owner(port: number, from: Pod | HostService = client): Promise<string | undefined> {
  const report = await ask(from, mesh.one.ip, port)
  if (!report.ok) return undefined
  const entry = await mesh.outbound(report)
  return entry.destination.workload === seenBy(report).name
    ? entry.destination.identity
    : `${seenBy(report).name} under ${entry.destination.identity}`
}

test.serial('a port belongs to who listens there, and to nobody when nobody does', async (t) => {
  t.is(await owner(FREE, local), undefined)
  const [first] = await serve(web, programs.server('identity', FREE, { name: 'web' }))
  t.is(await owner(FREE, local), spiffe(web))
  await first?.stop()
  t.is(await owner(FREE, local), undefined)
  const [second] = await serve(db, programs.server('identity', FREE, { name: 'db' }))
  t.is(await owner(FREE, local), spiffe(db))
  await second?.stop()
  const [third] = await serve(
    web,
    programs.server('identity', FREE, { name: 'web', host: '0.0.0.0' }),
  )
  t.is(await owner(FREE, local), spiffe(web), 'opened again')
  await third?.stop()
})

test.serial('a port that another has by configuration cannot be taken', async (t) => {
  const everybody = [client, local, distant]
  for (const place of [db, mesh.one]) {
    const identity = programs.server('identity', SPARE, { name: 'thief' })
    const thief = await place.run(identity, { waitFor: programs.LISTENING })
    for (const from of everybody) t.is(await owner(SPARE, from), undefined)
    await thief.stop()
  }
  const [rightful] = await serve(web, programs.server('identity', SPARE, { name: 'web' }))
  for (const from of everybody) t.is(await owner(SPARE, from), spiffe(web))
  await rightful?.stop()
})

test.serial(
  'a port that it names itself may be held for it, but not by another workload',
  async (t) => {
    await echo.stop()
    const identity = programs.server('identity', ECHO, { name: 'held' })
    const argv = programs.client('banner', mesh.one.ip, ECHO, { timeoutSeconds: 1 })
    const thief = await db.run(identity, { waitFor: programs.LISTENING })
    for (const from of [client, local]) t.false((await call(from, argv)).ok)
    await thief.stop()
    // As systemd does for a service that it activates.
    const holder = await mesh.one.run(identity, { waitFor: programs.LISTENING })
    t.true((await call(client, argv)).ok)
    await holder.stop()
    await serve(web, programs.server('echo', ECHO))
  },
)

test.serial('a service that restarts in a new cgroup is the same workload at once', async (t) => {
  t.is(await owner(WEB), spiffe(web))
  for (let n = 0; n < 3; n++) {
    await web.restart()
    // No waiting: the kernel knows it by the name of its cgroup.
    t.is(await owner(WEB), spiffe(web))
    const out = await ask(web, mesh.one.ip, DB)
    t.true(out.ok, JSON.stringify(out))
    t.is((await mesh.outbound(out)).source.identity, spiffe(web))
  }
})

test.serial('a policy that changes ends what it forbids, and nothing else', async (t) => {
  const mine = await Held.open(client, mesh.one.ip, ECHO, 3)
  const others = await Held.open(distant, mesh.one.ip, ECHO, 3)
  const near = await Held.open(db, '127.0.0.1', ECHO, 3)
  t.deepEqual(await mine.use().then(({ ok }) => ok), 3)
  const principals = [client, db].map(principal)
  await mesh.apply('denied.yaml', [
    authorizationPolicy('denied', 'default', {
      selector: { matchLabels: { app: 'web' } },
      action: 'DENY',
      rules: [{ from: [{ source: { principals } }] }],
    }),
  ])
  t.like(await mine.use(), { ok: 0, failed: 3 })
  t.like(await near.use(), { ok: 0, failed: 3 })
  t.like(await others.use(), { ok: 3, failed: 0 })
  t.false((await call(db, programs.client('echo', '127.0.0.1', ECHO))).ok)
  await mesh.remove('denied.yaml')
  t.true((await call(db, programs.client('echo', '127.0.0.1', ECHO))).ok)
  await others.close()
  for (const { program } of [mine, near]) await program.stop()
})

for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
  test.serial(
    `after ${signal} to the agent services are refused, and the node is untouched`,
    async (t) => {
      const [agent] = mesh.agents
      await agent.kill(signal)
      t.false((await askWeb()).ok)
      t.false((await ask(mesh.two, mesh.one.ip, DB)).ok, 'in plaintext neither')
      t.false((await ask(web, mesh.one.ip, DB)).ok)
      t.false((await ask(web, distant.ip, FREE)).ok)
      t.is(
        (await ask(web, mesh.two.ip, SSH)).error,
        'ECONNREFUSED',
        'nor does it speak to outsiders',
      )
      await web.restart()
      t.false((await ask(web, mesh.one.ip, DB)).ok, 'restarted meanwhile')
      t.false((await askWeb()).ok)
      for (const from of [mesh.one, mesh.two]) {
        t.true((await call(from, programs.client('echo', mesh.one.ip, SSH))).ok, 'ssh')
      }
      t.true((await call(mesh.one, programs.client('echo', '127.0.0.1', SSH))).ok)
      await agent.start()
      await agent.waitEnrolled(web)
      await agent.waitEnrolled(db)
      t.is(await owner(WEB), spiffe(web))
      t.is(await owner(DB), spiffe(db))
      t.is((await mesh.outbound(await ask(web, mesh.one.ip, DB))).source.identity, spiffe(web))
    },
  )
}

test.serial('a worker that dies is replaced, also for the node', async (t) => {
  const [agent] = mesh.agents
  for (const worker of [0, 1]) {
    await agent.crashWorker(worker)
    await agent.waitForLog(
      (line) => line.event === 'worker.replaced' && line.worker === worker,
      `the replacement of worker ${worker}`,
    )
  }
  for (let n = 0; n < 4; n++) {
    t.is(await owner(WEB), spiffe(web))
    t.true((await ask(web, mesh.one.ip, DB)).ok)
  }
})

test.serial('a service that listens and speaks already is enrolled in mid-life', async (t) => {
  const late = mesh.one.service('late', { ports: { echo: LATE } })
  await serve(late, programs.server('echo', LATE), programs.server('echo', FREE))
  const before = await Held.open(mesh.two, mesh.one.ip, LATE, 3)
  t.true((await call(mesh.two, programs.client('echo', mesh.one.ip, LATE))).ok, 'in plaintext')
  mesh.lab.config.write('late.yaml', [hostResource(late)])
  await mesh.agents[0].waitEnrolled(late)
  const report = await call(client, programs.client('echo', mesh.one.ip, LATE))
  t.true(report.ok, JSON.stringify(report))
  t.is((await mesh.outbound(report)).destination.identity, spiffe(late))
  const found = await call(local, programs.client('echo', mesh.one.ip, FREE))
  t.is((await mesh.outbound(found)).destination.identity, spiffe(late), 'found at enrolment')
  for (const port of [LATE, FREE]) {
    t.false((await call(mesh.two, programs.client('echo', mesh.one.ip, port))).ok, 'STRICT')
  }
  await mesh.lab.waitUntil(
    async () => (await before.use()).failed === 3,
    'the end of what is older than the enrolment',
  )
  await before.program.stop()
  await mesh.remove('late.yaml')
  await mesh.lab.waitUntil(
    async () => (await call(mesh.two, programs.client('echo', mesh.one.ip, LATE))).ok,
    'a service that left to be as before',
  )
  await late.stop()
})

test.serial('a slice that goes with its last service, and comes back with it', async (t) => {
  const { lab, one } = mesh
  const lonely = one.service('lonely', { slice: 'lonely.slice', ports: { p: LONELY } })
  lab.config.write('lonely.yaml', [hostResource(lonely)])
  await mesh.agents[0].waitEnrolled(lonely)
  const identity = programs.server('identity', LONELY, { name: 'lonely' })
  await serve(lonely, identity)
  t.is(await owner(LONELY), spiffe(lonely))
  for (let n = 0; n < 2; n++) {
    await lonely.restart()
    t.is(await owner(LONELY), spiffe(lonely), 'found by the port it has by configuration')
    await lab.waitUntil(async () => {
      const out = await ask(lonely, one.ip, DB)
      return out.ok && (await mesh.outbound(out)).source.identity === spiffe(lonely)
    }, 'its calls to be captured again')
  }
  await lonely.stop()
  await mesh.remove('lonely.yaml')
})

test.serial('other ports and another identity take effect while it runs', async (t) => {
  const moved = mesh.one.service('moved', { ports: { p: 7400 } })
  mesh.lab.config.write('moved.yaml', [hostResource(moved)])
  await mesh.agents[0].waitEnrolled(moved)
  await serve(moved, programs.server('identity', 7401, { name: 'moved' }))
  const ports = mesh.one.service('moved', { ports: { p: 7401 }, serviceAccount: 'renamed' })
  await mesh.apply('moved.yaml', [hostResource(ports)])
  await mesh.lab.waitUntil(
    async () => (await owner(7401)) === spiffe(ports),
    'the port to be answered under the new identity',
  )
  await mesh.remove('moved.yaml')
  await moved.stop()
  t.pass()
})

test.serial(
  '`weft run --host-network` brings a program in, and takes everything away',
  async (t) => {
    const { one, lab } = mesh
    const slice = join(one.hostCgroup, 'runs')
    const [agent] = mesh.agents
    const flags = [
      ...['--config', lab.config.directory, '--node', 'one', '--state', agent.stateDirectory],
      ...['--host-network', '--host-slice', slice, '--address', one.ip, '--name', 'run'],
    ]
    const argv = [process.execPath, WEFT, 'run', ...flags, '--service', 'run:80:7500/tcp', '--']
    const serving = programs.server('identity', 7500, { name: 'run' })
    const program: Program = await one.run([...argv, ...serving], { waitFor: programs.LISTENING })
    t.regex(program.stderr, /default\/run shares the node's address 10\.200\.0\.1/)
    t.is(await owner(7500), 'spiffe://cluster.local/ns/default/sa/default')
    t.false((await ask(mesh.two, one.ip, 7500)).ok, 'STRICT')
    const second = await one.exec(
      [...argv.map((word) => (word === 'run' ? 'run' : word)), 'true'],
      {
        check: false,
      },
    )
    t.regex(second.stderr, /a workload of that name runs already/)
    const taken = argv.with(argv.indexOf('--name') + 1, 'other')
    const third = await one.exec([...taken, 'true'], { check: false })
    t.regex(
      third.stderr,
      /this workload does not fit: .* serves port 7500 of 10\.200\.0\.1, and so does/,
    )
    await program.stop()
    const remains = [
      ...['runs', 'enrolled'].map((kind) => join(agent.stateDirectory, kind)),
      join(lab.config.directory, 'run', 'one'),
      join(lab.config.directory, 'run', 'services'),
    ].flatMap((path) => (existsSync(path) ? readdirSync(path) : []))
    t.deepEqual(
      remains.filter((name) => name.includes('run') || name.includes('other')),
      [],
    )
    t.false(existsSync(join(slice, 'default_run')))
  },
)

test.serial('an agent that is asked to leave nothing leaves services as they were', async (t) => {
  const [agent] = mesh.agents
  await agent.kill('SIGINT')
  t.false(existsSync(agent.pins))
  const fromOutside = await ask(mesh.two, mesh.one.ip, DB)
  t.true(fromOutside.ok, JSON.stringify(fromOutside))
  t.true((await ask(web, mesh.one.ip, DB)).ok)
  t.true((await call(web, programs.client('echo', mesh.one.ip, SSH))).ok)
})
