// Containers of real OCI runtimes: found by their cgroup, bound to an identity by name or by glob,
// refused while nobody or more than one workload claims them.
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Container, type OciRuntime } from '../lab/container.ts'
import { authorizationPolicy, type Resource } from '../lab/mesh-config.ts'
import type { Pod } from '../lab/pod.ts'
import * as programs from '../lab/programs.ts'
import { call, Mesh, principal, serve } from './mesh.ts'

const GREETING = 7000
const CONTAINER_PORT = 7100
/** Answers who asks, and lives until it is killed. */
const GREETER = `echo up; exec nc -ll -p ${CONTAINER_PORT} -e /bin/echo greetings`

let mesh: Mesh
/** On node two: only `trusted` may call it. */
let server: Pod
let caller: Pod

test.before(async () => {
  mesh = await Mesh.open()
  const { two } = mesh
  server = await mesh.pod(two, 'server')
  caller = await mesh.pod(two, 'caller')
  const rules = [{ from: [{ source: { principals: ['cluster.local/ns/default/sa/trusted'] } }] }]
  const selector = { matchLabels: { app: 'server' } }
  mesh.lab.config.write('policy.yaml', [
    authorizationPolicy('trusted-only', 'default', { selector, action: 'ALLOW', rules }),
  ])
  await mesh.start()
  await serve(server, programs.server('identity', GREETING, { name: 'server' }))
})

test.after.always(() => mesh?.close())

let networks = 0

/** A network namespace with eth0, as container managers make before they start the container. */
function network(v4?: string): Promise<Pod> {
  return mesh.one.pod(`net${++networks}`, {
    pause: false,
    v6: false,
    ...(v4 === undefined ? {} : { v4 }),
  })
}

interface Started {
  readonly container: Container
  readonly address: string
  readonly stop: () => Promise<void>
}

async function start(
  t: ExecutionContext,
  runtime: OciRuntime,
  name: string,
  options: { readonly net?: Pod; readonly cgroup?: string } = {},
): Promise<Started> {
  const net = options.net ?? (await network())
  const container = new Container(
    { node: mesh.one, network: net, directory: join(mesh.lab.directory, `bundle-${net.name}`) },
    {
      runtime,
      id: idOf(name),
      cgroup: options.cgroup ?? `of-${net.name}`,
      script: GREETER,
    },
  )
  await container.start()
  let isThere = true
  const stop = async (): Promise<void> => {
    if (!isThere) return
    isThere = false
    await container.kill()
    await net.remove()
  }
  t.teardown(stop)
  return { container, address: net.ip, stop }
}

/** Runtimes know one container of a name on the whole machine. */
function idOf(name: string): string {
  return `${mesh.lab.prefix}-${name}`
}

function entry(name: string, address: string, match: string, serviceAccount = 'trusted'): Resource {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadEntry',
    metadata: {
      name,
      namespace: 'default',
      annotations: { 'weft.dev/node': 'one', 'weft.dev/match': match },
    },
    spec: { address, serviceAccount, labels: { app: name } },
  }
}

/** What a client inside the container gets of `server`, '' when it is refused. */
async function greeting({ container }: Started): Promise<string> {
  const argv = ['/bin/nc', '-w', '5', server.ip, String(GREETING)]
  return (await container.exec(argv, { check: false })).stdout
}

async function entered(name: string, times = 1): Promise<void> {
  const [agent] = mesh.agents
  await mesh.lab.waitUntil(
    () => told('enrolment.entered', name).length >= times,
    `enrolment ${times} of ${name}: ${agent.program.describe()}`,
  )
}

function told(event: string, name: string) {
  return mesh.agents[0]
    .logLines()
    .filter((line) => line.event === event && String(line.workload).endsWith(`/${name}`))
}

for (const runtime of ['runc', 'crun'] as const) {
  test.serial(`${runtime}: nothing leaves a container before it is known by name`, async (t) => {
    const net = await network()
    const capture = await mesh.lab.capture(undefined, `tcp and host ${net.ip}`)
    const started = await start(t, runtime, `${runtime}-db`, { net })
    for (let n = 0; n < 3; n++) t.is(await greeting(started), '')
    const recording = await capture.stop()
    t.is(recording.lost, 0)
    t.deepEqual(recording.packets, [])
    const name = `${runtime}-db`
    await mesh.apply('db.yaml', [entry(name, started.address, `container=${idOf(name)}`)])
    await entered(name)
    t.regex(await greeting(started), /"name": ?"server"/)
    const inbound = await mesh.waitForEntries(
      ({ direction, source }) => direction === 'inbound' && source.workload === name,
      1,
      'the call of the container',
    )
    t.like(inbound[0], {
      path: 'tunnel',
      source: { ip: started.address, identity: 'spiffe://cluster.local/ns/default/sa/trusted' },
    })
    const answer = await call(caller, programs.client('banner', started.address, CONTAINER_PORT))
    t.is(answer.banner, 'greetings')
    const [asked] = await mesh.waitForEntries(
      ({ direction, destination }) => direction === 'inbound' && destination.workload === name,
      1,
      'the call to the container',
    )
    t.is(asked?.source.identity, `spiffe://${principal(caller)}`)
    await started.stop()
    await mesh.remove('db.yaml')
  })
}

test.serial(
  'a container restarted in another namespace enters again, and leaves at its end',
  async (t) => {
    const first = await start(t, 'runc', 'cart')
    await mesh.apply('cart.yaml', [entry('cart', first.address, `container=${idOf('cart')}`)])
    await entered('cart')
    t.not(await greeting(first), '')
    await first.stop()
    const second = await start(t, 'runc', 'cart', { net: await network(first.address) })
    await entered('cart', 2)
    t.not(await greeting(second), '')
    await second.stop()
    await mesh.lab.waitUntil(() => told('enrolment.left', 'cart').length >= 2, 'its leaving')
    const options = { timeoutSeconds: 1 }
    const argv = programs.client('banner', second.address, CONTAINER_PORT, options)
    t.false((await call(caller, argv)).ok)
    await mesh.remove('cart.yaml')
  },
)

test.serial('a container that two workloads claim is refused, and both are told', async (t) => {
  const started = await start(t, 'crun', 'twin')
  const byName = entry('by-name', started.address, `container=${idOf('twin')}`)
  await mesh.apply('twin.yaml', [byName, entry('by-path', '10.244.1.200', 'cgroup=of-*')])
  const line = await mesh.agents[0].waitForLog(
    ({ event }) => event === 'enrolment.ambiguous',
    'the two claims',
  )
  const uids = (line.workloads as string[]).map((uid) => uid.split('/').at(-1))
  t.deepEqual(uids, ['by-name', 'by-path'])
  t.is(line.container, idOf('twin'))
  t.is(await greeting(started), '')
  await mesh.apply('twin.yaml', [byName])
  await entered('by-name')
  t.not(await greeting(started), '')
  await started.stop()
  await mesh.remove('twin.yaml')
})

test.serial(
  'a container is bound by a glob over its cgroup, and has no other identity',
  async (t) => {
    const started = await start(t, 'runc', 'globbed', { cgroup: 'team/stock-1' })
    const entryOf = (serviceAccount: string) =>
      entry('stock', started.address, 'cgroup=team/stock-*', serviceAccount)
    await mesh.apply('stock.yaml', [entryOf('someone')])
    await entered('stock')
    t.is(await greeting(started), '')
    await mesh.apply('stock.yaml', [entryOf('trusted')])
    await entered('stock', 2)
    t.not(await greeting(started), '')
    await started.stop()
    await mesh.remove('stock.yaml')
  },
)
