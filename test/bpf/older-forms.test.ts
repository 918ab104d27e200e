import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import type { DirectConnection } from '../../src/kernel/datapath.ts'
import type { AccessEntry } from '../../src/model/access-entry.ts'
import type { Pod } from '../lab/pod.ts'
import { client, connectMany, hold, type ManyReport, server } from '../lab/programs.ts'
import { load, waitUntil } from '../lab/wait.ts'
import { directTo, OLDER_FORMS, Stage } from './stage.ts'

const ECHO = 7001
const FREE = { outsideCgroup: true }

let stage: Stage
let a: Pod
let b: Pod

test.before(async () => {
  stage = await Stage.open(OLDER_FORMS)
  await stage.begin()
  a = await stage.pod('a')
  b = await stage.pod('b')
  await b.run(server('echo', ECHO), { waitFor: 'listening' })
  await b.run(server('identity', 7000, { name: 'b' }), { waitFor: 'listening' })
})

test.after.always(() => stage?.close())

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain())
})

const allowed = (port: number) =>
  directTo(b, port, [{ source: 'a', destination: 'b', port, verdict: 'allow' }])

/** What `tc` says of both ends of a pod's device. */
async function filters(pod: Pod): Promise<string> {
  const inner = await pod.exec(
    ['sh', '-c', 'tc qdisc show dev eth0; tc filter show dev eth0 egress'],
    FREE,
  )
  const outer = await stage.node.exec([
    'sh',
    '-c',
    `ip -o link | sed 's/^[0-9]*: \\([^:@]*\\)[:@].*/\\1/' |
      while read -r dev; do tc filter show dev "$dev" ingress; done`,
  ])
  return inner.stdout + outer.stdout
}

const room = (path: string): string => fileURLToPath(new URL(`../../src/${path}`, import.meta.url))
const count = (text: string, part: string): number => text.split(part).length - 1

test.serial('the forms in use are told, and logged once', async (t) => {
  t.deepEqual(await stage.driver.call('forms'), OLDER_FORMS)
  const log = await stage.driver.call<{ event: string }[]>('log')
  t.is(log.filter(({ event }) => event === 'kernel.forms').length, 1)
})

test.serial('a withdrawn pod keeps no filter at either end', async (t) => {
  const pod = await stage.node.pod('brief')
  const before = await filters(pod)
  await stage.driver.enrol(pod)
  t.is(count(await filters(pod), 'name weft_guard_pod '), 1)
  await stage.driver.call('withdraw', 'brief')
  t.is(await filters(pod), before)
  t.notRegex(before, /clsact ffff|weft_guard_pod/)
})

test.serial("a neighbour's filter and its qdisc are left alone", async (t) => {
  const pod = await stage.node.pod('shared')
  const own = ['pref', '9', 'protocol', 'ip', 'bpf', 'bytecode', '1,6 0 0 0', 'classid', '1:1']
  await pod.exec(['tc', 'qdisc', 'add', 'dev', 'eth0', 'clsact'], FREE)
  await pod.exec(['tc', 'filter', 'add', 'dev', 'eth0', 'ingress', ...own], FREE)
  const shown = async () =>
    (await pod.exec(['tc', 'filter', 'show', 'dev', 'eth0', 'ingress'], FREE)).stdout
  const before = await shown()
  t.regex(before, /pref 9 bpf/)
  await stage.driver.enrol(pod)
  await stage.driver.call('withdraw', 'shared')
  t.is(await shown(), before)
})

test.serial('a takeover replaces the programs and drops nothing', async (t) => {
  await stage.driver.call('generation', allowed(7000))
  const dropped = async () => {
    const counters = await stage.driver.counters()
    return ['guard_dropped', 'unstamped_dropped', 'spoofed_dropped'].map((name) => counters[name])
  }
  const before = { dropped: await dropped(), filters: await filters(a) }
  const many = await a.run(connectMany([{ host: b.ip, port: 7000, name: 'b' }], load(2000), 8))
  await stage.replaceDriver()
  await stage.begin()
  for (const pod of [a, b]) await stage.driver.enrol(pod)
  await stage.driver.call('generation', allowed(7000))
  await many.finish(60_000)
  t.is(many.report<ManyReport>().ok, load(2000), JSON.stringify(many.report<ManyReport>().errors))
  t.deepEqual(await dropped(), before.dropped)
  const after = await filters(a)
  t.not(after, before.filters, 'other programs')
  for (const name of ['weft_guard_pod', 'weft_guard_host']) {
    t.is(count(after, `name ${name} `), count(before.filters, `name ${name} `))
  }
})

test.serial('a pod that removes its filter is cut off until it is enrolled again', async (t) => {
  await stage.driver.call('generation', allowed(ECHO))
  const call = async () =>
    JSON.parse(
      (await a.exec(client('echo', b.ip, ECHO, { timeoutSeconds: 1 }), { check: false })).stdout,
    ) as { ok: boolean }
  t.true((await call()).ok)
  await a.exec(['tc', 'qdisc', 'del', 'dev', 'eth0', 'clsact'])
  const before = (await stage.driver.counters()).unstamped_dropped ?? 0
  t.false((await call()).ok)
  t.true(((await stage.driver.counters()).unstamped_dropped ?? 0) > before)
  await stage.driver.call('withdraw', 'a')
  await stage.driver.enrol(a)
  t.true((await call()).ok)
})

test.serial('live direct connections are ended by inet_diag, with their reason', async (t) => {
  await stage.driver.call('generation', allowed(ECHO))
  const doomed = await a.run(hold(b.ip, ECHO, 3), { waitFor: 'held 3' })
  const live = await stage.driver.call<DirectConnection[]>('liveDirect')
  const spared = await a.run(hold(b.ip, ECHO, 2), { waitFor: 'held 2' })
  await stage.driver.call('entries')
  t.is(live.length, 3)
  const input = { connections: live, reason: 'policy-changed' }
  t.is(await stage.driver.call('endDirect', input), 3)
  const entries: AccessEntry[] = []
  await waitUntil(async () => {
    entries.push(...(await stage.driver.call<AccessEntry[]>('entries')))
    return entries.length >= 3
  }, 'three records')
  t.deepEqual(
    entries.map(({ reason }) => reason),
    ['policy-changed', 'policy-changed', 'policy-changed'],
  )
  doomed.write('ping\n')
  await doomed.waitFor('"failed":3')
  spared.write('ping\n')
  await spared.waitFor('"ok":2')
  t.is(await stage.driver.call('endDirect', input), 0, 'they are gone')
  for (const holder of [doomed, spared]) holder.kill()
})

test.serial('without any agent everything can be removed', async (t) => {
  stage.driver.program.kill()
  await stage.driver.program.exited
  const script = `
    import { memoryLog } from '${room('base/log.ts')}'
    import { removePinned } from '${room('kernel/datapath/pinned.ts')}'
    import { nativeKernel } from '${room('kernel/native.ts')}'
    const parts = { kernel: nativeKernel(), log: memoryLog() }
    console.log(await removePinned(parts, { pins: '${stage.paths.pins}' }))`
  // As `weft down` does, on the node itself.
  const { stdout } = await stage.node.exec([process.execPath, '--input-type=module', '-e', script])
  t.is(stdout, '2\n')
  for (const pod of [a, b]) t.notRegex(await filters(pod), /weft_guard|clsact ffff/)
  t.false(existsSync(stage.paths.pins))
})
