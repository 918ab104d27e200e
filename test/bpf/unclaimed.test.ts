// Pods that an earlier agent enrolled and nobody enrols again leave nothing in the kernel.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { memoryLog } from '../../src/base/log.ts'
import { removePinned } from '../../src/kernel/datapath/pinned.ts'
import { nativeKernel } from '../../src/kernel/native.ts'
import type { WantedMaps } from '../../src/model/wanted-maps.ts'
import type { Pod } from '../lab/pod.ts'
import { client, hold, server } from '../lab/programs.ts'
import { waitUntil } from '../lab/wait.ts'
import { directTo, Stage } from './stage.ts'

const ECHO = 7001

let stage: Stage

test.beforeEach(async () => {
  stage = await Stage.open()
  await stage.begin()
})

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain())
  await stage.close()
})

/** What enrolment leaves in a pod's namespace and at its devices. */
async function traces(pod: Pod): Promise<Record<string, string>> {
  const inside = async (script: string) =>
    (
      await stage.node.exec(['nsenter', `--net=/run/netns/${pod.netns}`, 'sh', '-c', script])
    ).stdout.trim()
  return {
    rules4: await inside('ip rule show fwmark 0x111'),
    rules6: await inside('ip -6 rule show fwmark 0x111'),
    routes4: await inside('ip route show table 100 2>&1 | grep ^local || true'),
    routes6: await inside('ip -6 route show table 100 2>&1 | grep ^local || true'),
    accept: await inside('cat /proc/sys/net/ipv4/tcp_fwmark_accept'),
    reflect: await inside('cat /proc/sys/net/ipv4/fwmark_reflect'),
    guard: await inside('bpftool net show | grep -o weft_guard_pod || true'),
    lookup: await inside('bpftool net show | grep -o weft_lookup || true'),
  }
}

const mapSize = (name: string) => stage.driver.call<number>('mapSize', name)

function podPins(): number {
  const directory = join(stage.paths.pins, 'pods')
  return existsSync(directory) ? readdirSync(directory).length : 0
}

const allow = (pod: Pod): WantedMaps =>
  directTo(pod, ECHO, [{ source: '*', destination: pod.name, port: ECHO, verdict: 'allow' }])

/** An enrolled pod, and what it was before. */
async function enrolled(name: string): Promise<{ pod: Pod; before: Record<string, string> }> {
  const pod = await stage.node.pod(name)
  await pod.run(server('echo', ECHO), { waitFor: 'listening' })
  const before = await traces(pod)
  await stage.driver.enrol(pod)
  return { pod, before }
}

test.serial('a pod that the next agent does not enrol is withdrawn', async (t) => {
  const { pod: dropped, before } = await enrolled('dropped')
  const { pod: kept } = await enrolled('kept')
  const { pod: source } = await enrolled('source')
  const during = await traces(kept)
  t.notDeepEqual(during, before)
  await stage.driver.call('generation', allow(dropped))
  const held = await source.run(hold(dropped.ip, ECHO, 2), { waitFor: 'held 2' })
  await stage.replaceDriver()
  await stage.begin()
  for (const pod of [kept, source]) await stage.driver.enrol(pod)
  held.write('ping\n')
  await held.waitFor('"ok":2')
  t.is(await stage.driver.call('withdrawUnclaimed'), 1)
  t.deepEqual(await traces(dropped), before)
  t.deepEqual(await traces(kept), during)
  t.is(podPins(), 2)
  t.is(await mapSize('weft_pods'), 2)
  t.is(await mapSize('weft_enrolled'), 2)
  held.write('ping\n')
  await held.waitFor('"failed":2')
  t.is(await stage.driver.call('withdrawUnclaimed'), 0)
  const { stdout } = await kept.exec(client('banner', '198.51.100.1', 80))
  t.true(JSON.parse(stdout).ok)
})

test.serial('one that is still to be enrolled is kept, until it is elsewhere', async (t) => {
  const { pod: first, before } = await enrolled('moving')
  const during = await traces(first)
  await stage.replaceDriver()
  await stage.begin()
  t.is(await stage.driver.call('withdrawUnclaimed', ['moving']), 0)
  t.deepEqual(await traces(first), during)
  const second = await stage.node.pod('second')
  const { netns, addresses } = second
  await stage.driver.call('enrol', { uid: 'moving', netns, addresses })
  t.deepEqual(await traces(first), before)
  t.deepEqual(await traces(second), during)
  t.is(await mapSize('weft_enrolled'), 1)
})

test.serial('one that is waited for in vain is forgotten with its namespace', async (t) => {
  const { pod } = await enrolled('waited')
  await stage.replaceDriver()
  await stage.begin()
  t.is(await stage.driver.call('withdrawUnclaimed', ['waited']), 0)
  await pod.remove()
  await enrolled('next')
  t.is(podPins(), 1)
  t.is(await mapSize('weft_pods'), 1)
  t.is(await mapSize('weft_enrolled'), 1)
})

test.serial('its namespace is found by a name when no process is in it', async (t) => {
  const pod = await stage.node.pod('empty')
  const before = await traces(pod)
  await stage.driver.enrol(pod)
  await stage.replaceDriver()
  await stage.begin()
  t.is(await stage.driver.call('withdrawUnclaimed'), 1)
  t.deepEqual(await traces(pod), before)
})

test.serial('and by a process when it has no name', async (t) => {
  const { pod, before } = await enrolled('nameless')
  const inside = await pod.run(['sleep', '600'])
  const netns = `/run/netns/${pod.netns}`
  await stage.replaceDriver()
  await stage.node.exec(['umount', netns])
  await stage.begin()
  t.is(await stage.driver.call('withdrawUnclaimed'), 1)
  await stage.node.exec(['mount', '--bind', `/proc/${inside.pid}/ns/net`, netns])
  t.deepEqual(await traces(pod), before)
})

test.serial('a removal takes along what it did not enrol itself', async (t) => {
  const { pod, before } = await enrolled('forgotten')
  await stage.replaceDriver()
  await stage.begin()
  await stage.driver.call('stop', 'remove')
  t.deepEqual(await traces(pod), before)
  t.false(existsSync(stage.paths.pins))
  stage.driver.program.kill()
  await stage.driver.program.exited
})

test.serial('what pins of another layout said is not lost with them', async (t) => {
  const { pod, before } = await enrolled('older')
  await stage.replaceDriver()
  const config = nativeKernel().openPinnedMap(join(stage.paths.pins, 'maps', 'weft_config'))
  const other = Buffer.alloc(config.valueSize)
  other.writeUInt32LE(999_999)
  config.update(Buffer.alloc(4), other)
  config.close()
  await stage.begin()
  t.is(await stage.driver.call('withdrawUnclaimed'), 1)
  t.deepEqual(await traces(pod), before)
})

test.serial('without any agent everything can be removed', async (t) => {
  const { pod, before } = await enrolled('down')
  const { pod: gone } = await enrolled('gone')
  stage.driver.program.kill()
  await stage.driver.program.exited
  await gone.remove()
  await waitUntil(() => existsSync(stage.paths.pins), 'the pins')
  t.is(await removePinned({ kernel: nativeKernel(), log: memoryLog() }, stage.paths), 1)
  t.deepEqual(await traces(pod), before)
  t.false(existsSync(stage.paths.pins))
})
