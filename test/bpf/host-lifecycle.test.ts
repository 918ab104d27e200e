// Host-network workloads as units, slices and agents come and go.
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'ava'
import { killCgroup, removeCgroup } from '../lab/cgroups.ts'
import type { HostService } from '../lab/host-service.ts'
import type { Node } from '../lab/node.ts'
import { client, server } from '../lab/programs.ts'
import { execSync } from '../lab/shell.ts'
import { waitUntil } from '../lab/wait.ts'
import { answererOf, ask, enrolHost, portsOf, waitForPorts } from './host-stage.ts'
import { Stage } from './stage.ts'

const OUTSIDE = '198.51.100.1'
const SSH = 7022
const WEB = 7100

let stage: Stage
let other: Node
let web: HostService

test.beforeEach(async () => {
  stage = await Stage.open()
  other = await stage.lab.node('n2')
  await stage.begin()
  web = stage.node.service('web')
  await stage.node.run(server('identity', SSH, { name: 'ssh' }), { waitFor: 'listening' })
})

test.afterEach.always(async (t) => {
  if (!t.passed && stage !== undefined) t.log(await stage.explain())
  await stage?.close()
})

const serving = () => web.run(server('identity', WEB, { name: 'web' }), { waitFor: 'listening' })
const mapSize = (name: string): Promise<number> => stage.driver.call('mapSize', name)
const hostPins = (): string => join(stage.paths.pins, 'links', 'hosts')

async function killDriver(): Promise<void> {
  stage.driver.program.kill()
  await stage.driver.program.exited
}

/** Names of our programs attached at this very cgroup. */
function attachedAt(cgroup: string): string[] {
  if (!existsSync(cgroup)) return []
  const { stdout } = execSync(['bpftool', '-j', 'cgroup', 'show', cgroup])
  const shown = JSON.parse(stdout.trim() === '' ? '[]' : stdout) as { readonly name: string }[]
  return shown.map(({ name }) => name).filter((name) => name.startsWith('weft_'))
}

/** Every cgroup of the node where programs for its own workloads are attached. */
function attachedPlaces(): string[] {
  const walk = (path: string): string[] => [
    ...(attachedAt(path).includes('weft_admit') ? [path] : []),
    ...readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .flatMap((entry) => walk(join(path, entry.name))),
  ]
  return walk(dirname(stage.node.hostCgroup)).map((path) =>
    path.slice(dirname(stage.node.hostCgroup).length),
  )
}

test.serial('without the agent it is refused in both directions, and nobody else is', async (t) => {
  await enrolHost(stage, web)
  await serving()
  t.is(await answererOf(other, stage.node.ip, WEB), 'plaintext')
  await killDriver()
  for (const [who, ip, port] of [
    [web, OUTSIDE, 80],
    [web, other.ip, 80],
    [other, stage.node.ip, WEB],
    [stage.node, '127.0.0.1', WEB],
    [other, stage.node.ip, 15008],
  ] as const) {
    t.is(await answererOf(who, ip, port), 'ECONNREFUSED', `${ip}:${port}`)
  }
  t.is(await answererOf(web, '127.0.0.1', WEB), 'web', 'its own port is its own')
  for (const who of [other, stage.node]) {
    t.is(await answererOf(who, stage.node.ip, SSH), 'ssh')
  }
  t.is(await answererOf(web, stage.node.ip, SSH), 'ssh')
})

test.serial('a unit that restarts is captured at once, also without the agent', async (t) => {
  const number = await enrolHost(stage, web)
  await serving()
  await web.restart()
  await waitForPorts(stage, [`web 0.0.0.0 ${WEB}`, `web :: ${WEB}`])
  t.is((await ask(web, OUTSIDE, 80)).workload, number)
  t.is((await ask(other, stage.node.ip, WEB)).workload, number)
  await killDriver()
  await web.restart()
  t.is(await answererOf(web, OUTSIDE, 80), 'ECONNREFUSED')
  t.is(await answererOf(other, stage.node.ip, WEB), 'ECONNREFUSED')
})

test.serial('a new agent takes over what the last one left', async (t) => {
  const number = await enrolHost(stage, web)
  await serving()
  await stage.replaceDriver()
  await stage.driver.call('start')
  // Not configured yet.
  t.is(await answererOf(web, OUTSIDE, 80), 'ECONNREFUSED')
  t.is(await answererOf(other, stage.node.ip, WEB), 'ECONNREFUSED')
  t.is(await answererOf(other, stage.node.ip, SSH), 'ssh')
  t.is(await stage.driver.call('node'), 0)
  await stage.begin()
  // The unit restarts before it is enrolled again.
  await web.restart()
  t.is(await enrolHost(stage, web), number)
  t.deepEqual(await portsOf(stage), [`web 0.0.0.0 ${WEB}`, `web :: ${WEB}`])
  t.is((await ask(web, OUTSIDE, 80)).workload, number)
  t.is((await ask(other, stage.node.ip, WEB)).workload, number)
  await web.stop()
  await waitForPorts(stage, [])
})

test.serial('what nobody enrols again is withdrawn, and its connections are its own', async (t) => {
  const gone = stage.node.service('gone')
  await enrolHost(stage, web)
  await enrolHost(stage, gone)
  await serving()
  await stage.replaceDriver()
  await stage.begin()
  t.is(await stage.driver.call('withdrawUnclaimed', ['web']), 1)
  t.is(await answererOf(web, OUTSIDE, 80), 'ECONNREFUSED', 'one that is still awaited')
  t.is(await answererOf(gone, other.ip, SSH), 'ECONNREFUSED', 'by the other node itself')
  const far = await other.run(server('identity', SSH, { name: 'far' }), { waitFor: 'listening' })
  t.is(await answererOf(gone, other.ip, SSH), 'far')
  t.is(await stage.driver.call('withdrawUnclaimed'), 1)
  t.is(await answererOf(other, stage.node.ip, WEB), 'web')
  t.is(await mapSize('weft_hosts'), 0)
  t.is(await mapSize('weft_host_ports'), 0)
  t.false(existsSync(hostPins()) && readdirSync(hostPins()).length > 0)
  far.kill()
})

test.serial('slices that are not there yet, or go and come back, change nothing', async (t) => {
  const slice = join(stage.node.hostCgroup, 'system.slice', 'system-web.slice')
  const cgroup = join(slice, 'web@1.service')
  const number = await enrolHost(stage, web, { cgroup })
  t.false(existsSync(slice), 'only the place of the programs is made')
  const inside = { exec: (argv: readonly string[]) => stage.node.exec(argv, { cgroup }) }
  for (let turn = 0; turn < 2; turn++) {
    t.is((await ask(inside, OUTSIDE, 80)).workload, number)
    killCgroup(slice)
    removeCgroup(join(stage.node.hostCgroup, 'system.slice'))
  }
  const instance = { exec: (argv: readonly string[]) => stage.node.exec(argv, { cgroup: slice }) }
  t.is(await answererOf(instance, stage.node.ip, SSH), 'ssh', 'the slice itself is no workload')
})

test.serial('no program runs twice for one socket, in whatever order they come', async (t) => {
  const { hostCgroup } = stage.node
  const paths = {
    a: join(hostCgroup, 'system.slice', 'a.service'),
    deep: join(hostCgroup, 'system.slice', 'system-web.slice', 'web@1.service'),
    below: join(hostCgroup, 'system.slice', 'a.service', 'inner.service'),
    far: join(dirname(hostCgroup), 'user.slice', 'b.service'),
    pod: join(stage.node.podsCgroup, 'host-network-pod'),
  }
  const names = Object.keys(paths) as (keyof typeof paths)[]
  const enrol = (name: keyof typeof paths) =>
    enrolHost(stage, stage.node.service(name), { cgroup: paths[name] })
  const withdraw = (name: string) => stage.driver.call('withdrawHost', name)
  for (const order of [names, names.toReversed()]) {
    for (const name of order) {
      await enrol(name)
      mkdirSync(paths[name], { recursive: true })
    }
    t.deepEqual(attachedPlaces().sort(), ['/host', '/user.slice'])
    t.is(attachedAt(hostCgroup).filter((name) => name === 'weft_connect4').length, 1)
    for (const name of names) {
      const number = await enrol(name)
      const cgroup = paths[name]
      const who = { exec: (argv: readonly string[]) => stage.node.exec(argv, { cgroup }) }
      const before = (await stage.driver.counters()).captured ?? 0
      t.is((await ask(who, OUTSIDE, 80)).workload, number, name)
      t.is((await stage.driver.counters()).captured, before + 1, name)
    }
    for (const name of order.slice(0, -1)) await withdraw(name)
    const last = order.at(-1) ?? 'a'
    t.deepEqual(attachedPlaces(), last === 'pod' ? [] : ['/host'])
    await withdraw(last)
    t.deepEqual(attachedPlaces(), [])
  }
  // Made by the agent, and gone with the last that needed it, but for who uses it.
  t.true(existsSync(join(dirname(hostCgroup), 'user.slice')))
})

test.serial('cgroups that cannot be told apart, or are not its own, are refused', async (t) => {
  const enrol = (cgroup: string, uid = 'web') =>
    stage.driver.call('enrolHost', { uid, cgroup, addresses: [stage.node.ip], ports: [] })
  const { agentCgroup, podsCgroup, hostCgroup } = stage.node
  const deep = join(hostCgroup, ...'abcdefghij')
  for (const [cgroup, message] of [
    [agentCgroup, /holds the agents/],
    [join(agentCgroup, 'driver'), /holds the agents/],
    [dirname(hostCgroup), /holds the agents/],
    [podsCgroup, /watched workloads/],
    ['/proc/none', /not below a cgroup v2 mount/],
    [deep, /deeper than/],
    [join(hostCgroup, 'x'.repeat(95)), /longer than/],
  ] as const) {
    await t.throwsAsync(enrol(cgroup), { message }, cgroup)
  }
  await t.throwsAsync(
    stage.driver.call('enrolHost', {
      uid: 'web',
      cgroup: web.cgroup,
      addresses: ['10.0.0.256'],
      ports: [],
    }),
    { message: /not an IP address/ },
  )
  t.is(await stage.driver.call('node'), 0)
  t.is(await mapSize('weft_hosts'), 0)
  t.deepEqual(attachedPlaces(), [])
  await enrol(web.cgroup)
  await t.throwsAsync(enrol(web.cgroup, 'twin'), { message: /the cgroup .* of web/ })
  const long = join(hostCgroup, `${'x'.repeat(94)}`)
  await enrol(long, 'long')
  const who = (cgroup: string) => ({
    exec: (argv: readonly string[]) => stage.node.exec(argv, { cgroup, check: false }),
  })
  t.is(await answererOf(who(long), OUTSIDE, 80), 'outbound')
  t.not(await answererOf(who(`${long}y`), OUTSIDE, 80), 'outbound', 'one that only begins so')
})

test.serial('nothing is attached without a workload, and nothing stays', async (t) => {
  const listening = async () =>
    (await stage.node.exec(['sh', '-c', 'ss -Htln | wc -l'])).stdout.trim()
  const before = await listening()
  t.false(existsSync(hostPins()))
  t.deepEqual(attachedPlaces(), [])
  await enrolHost(stage, web, { ports: [WEB] })
  await stage.driver.call('setProbes', [stage.node.service('kubelet').cgroup])
  t.true(existsSync(join(hostPins(), 'node', 'weft_lookup_host')))
  t.not(await listening(), before)
  await stage.driver.call('withdrawHost', 'web')
  t.is(await listening(), before)
  t.false(existsSync(join(hostPins(), 'node')), 'a prober needs no lookup')
  t.deepEqual(attachedPlaces(), ['/host'])
  await enrolHost(stage, web, { ports: [WEB] })
  await stage.replaceDriver()
  await stage.begin()
  await stage.driver.call('stop', 'remove')
  t.false(existsSync(stage.paths.pins))
  t.deepEqual(attachedPlaces(), [])
  const { stdout } = await stage.node.exec(client('banner', stage.node.ip, SSH))
  t.regex(stdout, /ssh/)
  await killDriver()
})

test.serial('the place of the programs is made again when somebody removes it', async (t) => {
  await enrolHost(stage, web)
  await web.exec(['true'])
  const { hostCgroup } = stage.node
  const pins = readdirSync(hostPins())
  removeCgroup(hostCgroup)
  await waitUntil(
    () => existsSync(hostCgroup) && attachedAt(hostCgroup).includes('weft_connect6'),
    'the programs',
  )
  t.is(await answererOf(web, OUTSIDE, 80), 'outbound')
  await waitUntil(() => readdirSync(hostPins()).length === 2, 'the pins of the node and of one')
  t.notDeepEqual(readdirSync(hostPins()), pins)
})
