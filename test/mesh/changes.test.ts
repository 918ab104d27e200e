// What a change does to connections that live, and what coming into the mesh and leaving it does to
// programs that run: exactly what it must, and nothing to the others.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { AccessEntry } from '../../src/model/access-entry.ts'
import {
  authorizationPolicy,
  meshConfig,
  peerAuthentication,
  podResource,
} from '../lab/mesh-config.ts'
import type { Pod } from '../lab/pod.ts'
import type { Program } from '../lab/program.ts'
import * as programs from '../lab/programs.ts'
import { call, Held, Mesh, principal, serve, servicePort } from './mesh.ts'

const ECHO = 7000
const OUTSIDE = 7020

let mesh: Mesh
let caller: Pod
let friend: Pod
let near: Pod
let far: Pod
/** On node two, in no pod. */
let outside: Program

test.before(async () => {
  mesh = await Mesh.open()
  const { one, two, lab } = mesh
  caller = await mesh.pod(one, 'caller')
  friend = await mesh.pod(one, 'friend')
  near = await mesh.pod(one, 'near')
  far = await mesh.pod(two, 'far')
  lab.config.write('services.yaml', [
    mesh.service('near', { app: 'near' }, [ECHO], 'tcp'),
    mesh.service('far', { app: 'far' }, [ECHO]),
    peerAuthentication('default', 'locked', { mtls: { mode: 'STRICT' } }),
  ])
  await mesh.start()
  for (const pod of [near, far]) await serve(pod, programs.server('echo', ECHO))
  outside = await two.run(programs.server('echo', OUTSIDE), { waitFor: programs.LISTENING })
})

test.after.always(() => mesh?.close())

function held(from: Pod, to: Pod, count: number): Promise<Held> {
  return Held.open(from, mesh.vip(to.name).v4, servicePort(ECHO), count)
}

function echo(from: Pod, host: string, port: number) {
  return call(from, programs.client('echo', host, port))
}

const changed = (entry: AccessEntry) => entry.reason === 'policy-changed'

test('a policy ends exactly the live connections that it forbids', async (t) => {
  const forbidden = [await held(caller, far, 3), await held(caller, near, 3)]
  const others = [await held(friend, far, 3), await held(friend, near, 3)]
  for (const each of [...forbidden, ...others]) t.like(await each.use(), { ok: 3, failed: 0 })
  const rules = [{ from: [{ source: { principals: [principal(caller)] } }] }]
  await mesh.apply('deny.yaml', [
    authorizationPolicy('no-caller', 'default', { action: 'DENY', rules }),
  ])
  for (const each of forbidden) t.like(await each.use(), { ok: 0, failed: 3 })
  for (const each of others) t.like(await each.use(), { ok: 3, failed: 0 })
  await mesh.waitForEntries((e) => e.path === 'direct' && changed(e), 3, 'what the kernel ended')
  const tunnels = (entry: AccessEntry) => entry.path === 'tunnel' && entry.reason !== 'completed'
  await mesh.waitForEntries(tunnels, 6, 'both sides of the tunnels that ended')
  // The agent that is first says why; what the other sees is a reset.
  t.true(mesh.entries((e) => tunnels(e) && changed(e)).length >= 3)
  const ended = mesh.entries((e) => changed(e) || tunnels(e))
  t.is(ended.length, 9)
  t.true(ended.every(({ source }) => source.workload === 'caller'))
  t.like(await echo(caller, mesh.vip('far').v4, servicePort(ECHO)), { ok: false })
  const direct = await echo(caller, mesh.vip('near').v4, servicePort(ECHO))
  t.like(direct, { ok: false, error: 'ECONNREFUSED' })
  await mesh.waitForEntries(({ reason }) => reason === 'policy-denied', 2, 'the denials')
  await mesh.remove('deny.yaml')
  for (const to of ['near', 'far']) {
    t.like(await echo(caller, mesh.vip(to).v4, servicePort(ECHO)), { ok: true }, to)
  }
  for (const each of [...forbidden, ...others]) await each.close()
})

test('what was forbidden while the agent was dead ends when it is back, and nothing else', async (t) => {
  const [agent] = mesh.agents
  const forbidden = await held(caller, near, 3)
  const others = await held(friend, near, 3)
  await agent.kill()
  for (const each of [forbidden, others]) t.like(await each.use(), { ok: 3, failed: 0 })
  const rules = [{ from: [{ source: { principals: [principal(caller)] } }] }]
  mesh.lab.config.write('late.yaml', [
    authorizationPolicy('no-caller', 'default', { action: 'DENY', rules }),
  ])
  await agent.start()
  await mesh.enrolled(caller, friend, near)
  await agent.waitForLog(({ event }) => event === 'recheck.direct-ended', 'the judgement')
  t.like(await forbidden.use(), { ok: 0, failed: 3 })
  t.like(await others.use(), { ok: 3, failed: 0 })
  await mesh.remove('late.yaml')
  for (const each of [forbidden, others]) await each.close()
})

test('STRICT ends plain text that lives, and nothing else', async (t) => {
  const argv = programs.hold(far.ip, ECHO, 2)
  const plain = await mesh.one.run(argv, { waitFor: 'held 2' })
  plain.write('\n')
  await plain.waitFor('{"round":1,"ok":2,"failed":0}')
  const tunnels = await held(caller, far, 2)
  const strict = peerAuthentication('far', 'default', {
    selector: { matchLabels: { app: 'far' } },
    mtls: { mode: 'STRICT' },
  })
  await mesh.apply('strict.yaml', [strict])
  plain.write('\n')
  await t.notThrowsAsync(plain.waitFor('{"round":2,"ok":0,"failed":2}'))
  t.like(await tunnels.use(), { ok: 2, failed: 0 })
  await mesh.waitForEntries((e) => changed(e) && e.path === 'plaintext', 2, 'what was ended')
  await mesh.remove('strict.yaml')
  await plain.stop()
  await tunnels.close()
})

for (const { mode, namespace, graceMs } of [
  { mode: 'PERMISSIVE', namespace: 'default', graceMs: '3s' },
  // So long that only STRICT can end anything.
  { mode: 'STRICT', namespace: 'locked', graceMs: '1h' },
]) {
  test(`a running program enters a ${mode} mesh: what is old ends, what is new is captured`, async (t) => {
    const settings = meshConfig({ unknown: 'pass', enrolGraceMs: graceMs })
    await mesh.apply('mesh.yaml', [settings])
    const late = await mesh.one.pod(`late-${namespace}`, { namespace })
    await serve(late, programs.server('echo', ECHO))
    const old = await Held.open(late, mesh.two.ip, OUTSIDE, 3)
    t.like(await old.use(), { ok: 3, failed: 0 })
    await mesh.apply(`${late.name}.yaml`, [podResource(late)])
    await mesh.enrolled(late)
    if (mode === 'PERMISSIVE') t.like(await old.use(), { ok: 3, failed: 0 }, 'within its grace')
    const line = await mesh
      .agentOf(late)
      .waitForLog(
        ({ event, workload }) =>
          event === 'enrolment.inherited-ended' && String(workload).endsWith(late.name),
        'the end of old connections',
      )
    t.is(line.ended, 3)
    t.like(await old.use(), { ok: 0, failed: 3 })
    const fresh = await echo(late, mesh.two.ip, OUTSIDE)
    t.true(fresh.ok)
    t.like(await mesh.outbound(fresh), { path: 'passthrough', source: { workload: late.name } })
    // A server that was there before is called through the mesh.
    const called = await echo(caller, late.ip, ECHO)
    t.true(called.ok)
    t.like(await mesh.outbound(called), { path: 'tunnel', destination: { workload: late.name } })
    await old.close()
    await mesh.remove('mesh.yaml')
  })
}

test('a workload that is removed leaves its program running and nothing of the mesh in it', async (t) => {
  const gone = await mesh.pod(mesh.one, 'gone')
  await mesh.enrolled(gone)
  await serve(gone, programs.server('echo', ECHO))
  const agent = mesh.agentOf(gone)
  const pins = readdirSync(join(agent.pins, 'pods')).length
  const open = await Held.open(gone, mesh.vip('far').v4, servicePort(ECHO), 3)
  t.regex(await state(gone), /0x111/)
  await mesh.remove('pod-default-gone.yaml')
  await agent.waitForLog(
    ({ event, workload }) =>
      event === 'enrolment.left' && workload === 'Kubernetes//Pod/default/gone',
    'the farewell of the workload',
  )
  t.like(await open.use(), { ok: 0, failed: 3 })
  await mesh.waitForEntries(
    ({ reason, source }) => reason === 'workload-removed' && source.workload === 'gone',
    3,
    'its connections',
  )
  t.notRegex(await state(gone), /0x111|local default/)
  const { stdout } = await gone.exec(['ss', '-Htln'])
  t.regex(stdout.trim(), /^LISTEN\s.*\*:7000\s+\S+$/, 'its own listener and no other')
  t.is(readdirSync(join(agent.pins, 'pods')).length, pins - 1)
  // Still below the watched cgroup, and nobody's: refused, not in plain text.
  const refused = await echo(gone, mesh.two.ip, OUTSIDE)
  t.like(refused, { ok: false, error: 'ECONNREFUSED' })
  t.true(outside.isRunning)
  await open.close()
})

/** What enrolment puts into a namespace besides sockets. */
async function state(pod: Pod): Promise<string> {
  const show = 'ip rule; ip -6 rule; ip route show table 100; ip -6 route show table 100'
  const settings = '/proc/sys/net/ipv4/tcp_fwmark_accept /proc/sys/net/ipv[46]/fwmark_reflect'
  return (await pod.exec(['sh', '-c', `${show}; cat ${settings}`], { check: false })).stdout
}
