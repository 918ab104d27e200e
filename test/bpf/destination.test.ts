// A destination is reached without the agent only where it is enrolled, and as long as it is.
import test from 'ava'
import type { AccessEntry } from '../../src/model/access-entry.ts'
import type { WantedMaps } from '../../src/model/wanted-maps.ts'
import type { Pod } from '../lab/pod.ts'
import { client, hold, server } from '../lab/programs.ts'
import { waitUntil } from '../lab/wait.ts'
import { directTo, Stage } from './stage.ts'

const PORT = 7000
const ECHO = 7001

let stage: Stage
let a: Pod

interface Report {
  readonly error?: string
  readonly banner?: string
}

/** Who answered: a pod's server by its name, or the driver in its place. */
async function answererOf(host: string, port: number): Promise<string> {
  const { stdout } = await a.exec(client('banner', host, port), { check: false })
  const report = JSON.parse(stdout) as Report
  return report.banner === undefined ? (report.error ?? '') : JSON.parse(report.banner).name
}

/** A pod that runs but is not enrolled. */
async function serving(name: string): Promise<Pod> {
  const pod = await stage.node.pod(name)
  await pod.run(server('identity', PORT, { name }), { waitFor: 'listening' })
  await pod.run(server('echo', ECHO), { waitFor: 'listening' })
  return pod
}

const allow = (pod: Pod, port: number): WantedMaps =>
  directTo(pod, port, [{ source: '*', destination: pod.name, port, verdict: 'allow' }])

const live = async () => (await stage.driver.call<unknown[]>('liveDirect')).length

async function reasons(count: number): Promise<string[]> {
  const found: AccessEntry[] = []
  await waitUntil(async () => {
    found.push(...(await stage.driver.call<AccessEntry[]>('entries')))
    return found.length >= count
  }, `${count} access entries`)
  return found.map(({ reason }) => reason)
}

test.before(async () => {
  stage = await Stage.open()
  await stage.begin()
  a = await stage.pod('a')
})

test.after.always(() => stage?.close())

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain())
})

test.serial('a destination that is not enrolled is reached through the agent', async (t) => {
  const pod = await serving('late')
  await stage.driver.call('generation', allow(pod, PORT))
  const before = (await stage.driver.counters()).direct
  for (const ip of pod.addresses) t.not(await answererOf(ip, PORT), 'late', ip)
  t.is(await answererOf(pod.ip, PORT), `${pod.ip}:${PORT}`)
  t.is((await stage.driver.counters()).direct, before, 'nothing went direct')
  await stage.driver.enrol(pod)
  for (const ip of pod.addresses) t.is(await answererOf(ip, PORT), 'late', ip)
  await stage.driver.call('withdraw', 'late')
  t.is(await answererOf(pod.ip, PORT), `${pod.ip}:${PORT}`)
  t.is(await stage.driver.call('mapSize', 'weft_enrolled'), 1)
})

test.serial('nor is one whose address is not the enrolled one', async (t) => {
  const pod = await serving('moved')
  const stranger = await serving('stranger')
  await stage.driver.enrol(pod)
  // The rules of another moment: the workload's number, a stranger's address.
  const services = stranger.addresses.map((ip) => ({
    ip,
    port: PORT,
    protocol: 'tcp' as const,
    backends: [{ ip, port: PORT, workload: 'moved' }],
  }))
  const verdicts = [{ source: 'a', destination: 'moved', port: PORT, verdict: 'allow' as const }]
  await stage.driver.call('generation', { version: 1, services, verdicts })
  for (const ip of stranger.addresses) t.not(await answererOf(ip, PORT), 'stranger', ip)
  await stage.driver.call('generation', allow(pod, PORT))
  t.is(await answererOf(pod.ip, PORT), 'moved')
  // One family enrolled says nothing of the other.
  await stage.driver.call('withdraw', 'moved')
  const { netns } = pod
  await stage.driver.call('enrol', { uid: 'moved', netns, addresses: [pod.v4] })
  t.is(await answererOf(pod.v4 ?? '', PORT), 'moved')
  t.not(await answererOf(pod.v6 ?? '', PORT), 'moved')
  await stage.driver.call('withdraw', 'moved')
})

test.serial('withdrawing the destination ends its live direct connections', async (t) => {
  const pod = await serving('leaving')
  const other = await serving('staying')
  for (const each of [pod, other]) await stage.driver.enrol(each)
  await stage.driver.call('generation', allow(pod, ECHO))
  const doomed = await a.run(hold(pod.ip, ECHO, 3), { waitFor: 'held 3' })
  await stage.driver.call('generation', allow(other, ECHO))
  const spared = await a.run(hold(other.ip, ECHO, 2), { waitFor: 'held 2' })
  await stage.driver.call('entries')
  t.is(await live(), 5)
  await stage.driver.call('withdraw', 'leaving')
  t.is(await live(), 2)
  t.deepEqual(await reasons(3), Array(3).fill('workload-removed'))
  doomed.write('ping\n')
  await doomed.waitFor('"failed":3')
  spared.write('ping\n')
  await spared.waitFor('"ok":2')
  spared.kill()
  await stage.driver.call('withdraw', 'staying')
})

test.serial('withdrawing the source ends them as well', async (t) => {
  const source = await stage.pod('source')
  const pod = await serving('served')
  await stage.driver.enrol(pod)
  await stage.driver.call('generation', allow(pod, ECHO))
  const held = await source.run(hold(pod.ip, ECHO, 2), { waitFor: 'held 2' })
  await stage.driver.call('entries')
  await stage.driver.call('withdraw', 'source')
  t.deepEqual(await reasons(2), Array(2).fill('workload-removed'))
  held.write('ping\n')
  await held.waitFor('"failed":2')
  await stage.driver.call('withdraw', 'served')
})

test.serial('connections to a destination that vanished end with its withdrawal', async (t) => {
  const pod = await serving('vanishing')
  await stage.driver.enrol(pod)
  await stage.driver.call('generation', allow(pod, ECHO))
  const held = await a.run(hold(pod.ip, ECHO, 2), { waitFor: 'held 2' })
  // Its device goes first, so that nothing it says at its end arrives.
  await stage.node.exec(['ip', '-n', pod.netns, 'link', 'set', 'eth0', 'down'])
  await stage.driver.call('entries')
  await stage.driver.call('withdraw', 'vanishing')
  t.deepEqual(await reasons(2), Array(2).fill('workload-removed'))
  t.is(await live(), 0)
  held.kill()
})
