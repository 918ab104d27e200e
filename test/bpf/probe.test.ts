// Who may probe workloads past the mesh, and who may not.
import { join } from 'node:path'
import test from 'ava'
import type { HostService } from '../lab/host-service.ts'
import type { Pod } from '../lab/pod.ts'
import { client, connectMany, type ManyReport, server } from '../lab/programs.ts'
import { waitUntil } from '../lab/wait.ts'
import { Stage } from './stage.ts'

const PORT = 7300

let stage: Stage
let prober: HostService
let neighbour: HostService
let pod: Pod

test.beforeEach(async () => {
  stage = await Stage.open()
  await stage.begin()
  prober = stage.node.service('kubelet')
  neighbour = stage.node.service('neighbour')
  pod = await stage.pod('probed')
  await pod.run(server('identity', PORT, { name: 'probed' }), { waitFor: 'listening' })
})

test.afterEach.always(async (t) => {
  if (!t.passed && stage !== undefined) t.log(await stage.explain())
  await stage?.close()
})

/** Who answers: the workload by its name, or the class of the agent's listener. */
async function answererOf(who: { exec: HostService['exec'] }, host: string, port = PORT) {
  const { stdout } = await who.exec(client('banner', host, port), { check: false })
  const report = JSON.parse(stdout) as { banner?: string; error?: string }
  if (report.banner === undefined) return report.error
  const { name, class: kind } = JSON.parse(report.banner) as { name: string; class?: string }
  return kind ?? name
}

const attested = (): Promise<number> => stage.driver.call('mapSize', 'weft_attest')
const probes = async (): Promise<number> => (await stage.driver.counters()).probes ?? 0

test.serial('a prober reaches a pod, and nobody beside it', async (t) => {
  t.is(await answererOf(prober, pod.ip), 'plaintext', 'before it is one')
  await stage.driver.call('setProbes', [prober.cgroup])
  for (const address of pod.addresses) {
    t.is(await answererOf(prober, address), 'probed', address)
    t.is(await answererOf(neighbour, address), 'plaintext', address)
    t.is(await answererOf(stage.node, address), 'plaintext', address)
  }
  t.is(await probes(), 2)
  t.is(await attested(), 0)
  await stage.driver.call('setProbes', [])
  t.is(await answererOf(prober, pod.ip), 'plaintext', 'when it is none any more')
})

test.serial('many probes leave nothing behind, refused ones neither', async (t) => {
  await stage.driver.call('setProbes', [prober.cgroup])
  const many = await prober.run(
    connectMany([{ host: pod.ip, port: PORT, name: 'probed' }], 1000, 16),
  )
  await many.finish()
  t.is(many.report<ManyReport>().ok, 1000)
  t.is(await answererOf(prober, pod.ip, 7399), 'ECONNREFUSED')
  t.is(await attested(), 0)
  await pod.setSysctls({ 'net.ipv4.tcp_syncookies': 2 })
  const again = await prober.run(
    connectMany([{ host: pod.ip, port: PORT, name: 'probed' }], 300, 16),
  )
  await again.finish()
  t.is(again.report<ManyReport>().ok, 300)
  t.is(await attested(), 0)
})

test.serial('what it calls outside the mesh is none of ours', async (t) => {
  await stage.driver.call('setProbes', [prober.cgroup])
  const other = await stage.node.run(server('identity', 7301, { name: 'other' }), {
    waitFor: 'listening',
  })
  t.is(await answererOf(prober, stage.node.ip, 7301), 'other')
  t.is(await answererOf(prober, '127.0.0.1', 7301), 'other')
  t.is(await probes(), 0)
  other.kill()
})

test.serial('a prober that restarts is one at once, without the agent', async (t) => {
  await stage.driver.call('setProbes', [prober.cgroup])
  await prober.run(['sh', '-c', 'echo up; exec sleep infinity'], { waitFor: 'up' })
  stage.driver.program.kill()
  await stage.driver.program.exited
  await prober.restart()
  t.is(await answererOf(prober, pod.ip), 'probed')
  t.is(await answererOf(neighbour, pod.ip), 'ECONNREFUSED')
})

test.serial('it reaches a host-network workload on its ports', async (t) => {
  const web = stage.node.service('web')
  await stage.driver.call('setProbes', [prober.cgroup])
  await stage.driver.call('enrolHost', {
    uid: 'web',
    cgroup: web.cgroup,
    addresses: [stage.node.ip],
    ports: [],
  })
  await web.run(server('identity', 7302, { name: 'web' }), { waitFor: 'listening' })
  for (const address of [stage.node.ip, '127.0.0.1', '::1']) {
    t.is(await answererOf(prober, address, 7302), 'web', address)
    t.is(await answererOf(neighbour, address, 7302), 'plaintext', address)
  }
  t.is(await attested(), 0)
})

test.serial('a pod that is withdrawn is probed no more', async (t) => {
  await stage.driver.call('setProbes', [prober.cgroup])
  await stage.driver.call('withdraw', 'probed')
  t.is(await stage.driver.call('mapSize', 'weft_addresses'), 0)
  const before = await probes()
  t.is(await answererOf(prober, pod.ip), 'probed', 'nothing captures it')
  t.is(await probes(), before)
})

test.serial('one cgroup that cannot be a prober does not take it from the others', async (t) => {
  const cgroups = [stage.paths.agentCgroup, '/not/a/cgroup', prober.cgroup]
  await t.throwsAsync(stage.driver.call('setProbes', cgroups), {
    message: /holds the agents.*; \/not\/a\/cgroup is not below/,
  })
  t.is(await answererOf(prober, pod.ip), 'probed')
  const below = join(prober.cgroup, 'child')
  const { stdout } = await stage.node.exec(client('banner', pod.ip, PORT), { cgroup: below })
  t.regex(stdout, /probed/, 'whoever is below a prober is one')
})

test.serial('a new agent keeps probers until it is told of others', async (t) => {
  await stage.driver.call('setProbes', [prober.cgroup])
  await stage.replaceDriver()
  await stage.begin()
  await stage.driver.enrol(pod)
  t.is(await answererOf(prober, pod.ip), 'probed')
  await stage.driver.call('setProbes', [neighbour.cgroup])
  t.is(await answererOf(prober, pod.ip), 'plaintext')
  t.is(await answererOf(neighbour, pod.ip), 'probed')
  await waitUntil(async () => (await attested()) === 0, 'no attestation')
})
