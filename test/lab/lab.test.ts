import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { cgroup2Root, cgroupLayout, cgroupPids } from './cgroups.ts'
import { Lab } from './lab.ts'
import { findLeftovers } from './leftovers.ts'
import type { Node } from './node.ts'
import type { Pod } from './pod.ts'
import * as programs from './programs.ts'

let lab: Lab
let one: Node
let two: Node
let a: Pod
let b: Pod
let c: Pod

test.before(async () => {
  lab = await Lab.open()
  one = await lab.node('one')
  two = await lab.node('two')
  a = await one.pod('a')
  b = await one.pod('b')
  c = await two.pod('c', { sysctls: { 'net.ipv4.tcp_syncookies': '2' } })
})

test.after.always(() => lab?.close())

test('pods of one node and of two reach each other over both families', async (t) => {
  for (const [from, to] of [
    [a, b],
    [a, c],
    [c, b],
  ] as const) {
    for (const address of to.addresses) {
      await t.notThrowsAsync(from.exec(['ping', '-c', '1', '-W', '2', address]), address)
    }
  }
})

test('nodes reach each other and the pods of others', async (t) => {
  await t.notThrowsAsync(one.exec(['ping', '-c', '1', '-W', '2', two.ip]))
  await t.notThrowsAsync(one.exec(['ping', '-c', '1', '-W', '2', c.ip]))
})

test('an IPv6-only pod has no IPv4', async (t) => {
  const six = await two.pod('six', { v4: false })
  t.is(six.v4, undefined)
  t.is(six.ip, six.v6 ?? '')
  await t.notThrowsAsync(a.exec(['ping', '-c', '1', '-W', '2', six.ip]))
  t.false((await six.exec(['ip', 'addr', 'show', 'eth0'])).stdout.includes('inet '))
})

test('a service of a node is in its network, and gets a new cgroup when it restarts', async (t) => {
  const service = one.service('web')
  const sleeper = ['sh', '-c', 'echo up; exec sleep infinity']
  const program = await service.run(sleeper, { waitFor: 'up' })
  t.is(join(cgroup2Root(), service.cgroupPath), service.cgroup)
  t.deepEqual(cgroupPids(service.cgroup), [program.pid])
  t.true((await service.exec(['ip', '-4', 'addr'])).stdout.includes(one.ip))
  const before = statSync(service.cgroup).ino
  const [again] = await service.restart()
  t.false(program.isRunning)
  t.true(again?.isRunning)
  t.not(statSync(service.cgroup).ino, before)
  await service.stop()
  t.false(existsSync(service.cgroup))
})

test('programs run in the namespace and the cgroup of their pod from the first moment', async (t) => {
  const { stdout } = await a.exec(['cat', '/proc/self/cgroup'])
  const path = /^0::(.*)$/m.exec(stdout)?.[1] ?? ''
  t.is(join(cgroup2Root(), path), a.cgroup)
  const outside = await a.exec(['cat', '/proc/self/cgroup'], { outsideCgroup: true })
  t.true(outside.stdout.includes('/one/other'))
  const inner = await a.exec(['cat', '/proc/self/cgroup'], { container: 'main' })
  t.true(inner.stdout.includes('default_a/main'))
  t.true((await a.exec(['ip', '-o', 'addr'])).stdout.includes(a.ip))
})

test('the layout of cgroups is known', (t) => {
  t.is(cgroupLayout('/sys/fs/cgroup'), 'unified')
  t.is(cgroupLayout('/sys/fs/cgroup/unified'), 'hybrid')
  t.true(existsSync(join(cgroup2Root(), 'cgroup.procs')))
})

test('settings hold for one pod only', async (t) => {
  const read = async (pod: Pod) =>
    (await pod.exec(['cat', '/proc/sys/net/ipv4/tcp_syncookies'])).stdout.trim()
  t.is(await read(c), '2')
  t.not(await read(a), '2')
  await a.setSysctls({ 'net.ipv4.tcp_fin_timeout': 7 })
  t.is((await a.exec(['cat', '/proc/sys/net/ipv4/tcp_fin_timeout'])).stdout.trim(), '7')
})

test('echo servers in two languages answer clients of every kind', async (t) => {
  const python = await c.run(programs.server('echo', 7001), { waitFor: programs.LISTENING })
  const node = await b.run(programs.nodeEcho(7002), { waitFor: programs.LISTENING })
  await c.waitForPort(7001)
  const clients = [
    programs.client('echo', c.ip, 7001),
    programs.client('half-close', c.v6 ?? '', 7001, { bytes: 300_000 }),
    programs.client('nonblocking', b.ip, 7002, { bytes: 300_000 }),
    programs.client('echo', b.ip, 7002, { bind: a.ip, device: 'eth0' }),
    programs.client('reset', c.ip, 7001),
  ]
  for (const argv of clients) {
    const program = await (await a.run(argv)).finish()
    t.like(program.report(), { ok: true }, program.describe())
  }
  await python.stop()
  await node.stop()
  const refused = await (await a.run(programs.client('connect', c.ip, 7001))).finish()
  t.like(refused.report(), { ok: false, error: 'ECONNREFUSED' })
})

test('sinks and sources compare checksums, a banner comes first', async (t) => {
  const running = [
    await c.run(programs.server('sink', 7003), { waitFor: programs.LISTENING }),
    await c.run(programs.server('source', 7004), { waitFor: programs.LISTENING }),
    await c.run(programs.server('banner', 7005, { banner: '220 hi' }), {
      waitFor: programs.LISTENING,
    }),
  ]
  const bytes = 3_000_001
  for (const argv of [
    programs.client('send', c.ip, 7003, { bytes }),
    programs.client('fetch', c.ip, 7004, { bytes }),
    programs.client('banner', c.ip, 7005),
  ]) {
    const program = await (await a.run(argv)).finish()
    t.like(program.report(), { ok: true }, program.describe())
  }
  for (const program of running) await program.stop()
})

test('a reader that is told to wait reads nothing until then', async (t) => {
  const sink = await c.run(programs.server('sink', 7006, { rate: 0 }), {
    waitFor: programs.LISTENING,
  })
  const sender = await a.run(programs.client('send', c.ip, 7006, { bytes: 30_000_000 }))
  const queued = async () => {
    const { stdout } = await c.exec(['ss', '-Htn', 'sport = :7006'])
    return Number(stdout.trim().split(/\s+/)[1] ?? 0)
  }
  await lab.waitUntil(async () => (await queued()) > 0, 'bytes that nobody reads')
  t.true(sender.isRunning)
  sink.write('go\n')
  t.like((await sender.finish()).report(), { ok: true })
  await sink.stop()
})

test('many connections are each answered by their own destination', async (t) => {
  const servers = [
    await b.run(programs.server('identity', 7007, { name: 'b' }), { waitFor: programs.LISTENING }),
    await c.run(programs.server('identity', 7007, { name: 'c' }), { waitFor: programs.LISTENING }),
  ]
  const right = [
    { host: b.ip, port: 7007, name: 'b' },
    { host: c.v6 ?? '', port: 7007, name: 'c' },
  ]
  const good = await (await a.run(programs.connectMany(right, 400, 16))).finish()
  t.like(good.report(), { ok: 400, wrong: 0, failed: 0, perDestination: { b: 200, c: 200 } })
  const wrong = [{ host: b.ip, port: 7007, name: 'c' }]
  const bad = await (await a.run(programs.connectMany(wrong, 10, 2))).finish()
  t.like(bad.report(), { ok: 0, wrong: 10 })
  for (const program of servers) await program.stop()
})

test('held connections are used again and again, and their loss is seen', async (t) => {
  const echo = await c.run(programs.nodeEcho(7008), { waitFor: programs.LISTENING })
  const holder = await a.run(programs.hold(c.ip, 7008, 60), { waitFor: 'held 60' })
  holder.write('\n')
  await t.notThrowsAsync(holder.waitFor('{"round":1,"ok":60,"failed":0}'))
  await echo.stop()
  holder.write('\n')
  await t.notThrowsAsync(holder.waitFor('{"round":2,"ok":0,"failed":60,"ended":60}'))
  holder.endInput()
  await holder.finish()
})

test('UDP is echoed', async (t) => {
  const echo = await c.run(programs.udpEcho(7009), { waitFor: programs.LISTENING })
  const program = await (await a.run(programs.udpSend(c.ip, 7009, 'ping'))).finish()
  t.like(program.report(), { ok: true, from: { ip: c.ip, port: 7009 } })
  await echo.stop()
})

test('a capture sees what is on the wire, and only with its filter', async (t) => {
  const capture = await lab.capture(two)
  const filtered = await lab.capture(two, 'tcp port 9999')
  const whole = await lab.capture()
  const echo = await c.run(programs.server('echo', 7010), { waitFor: programs.LISTENING })
  const message = `a secret ${'x'.repeat(50)} in plain text `
  // Larger than a segment, so that the words cross packet borders.
  const bytes = message.length * 5000
  const argv = programs.client('half-close', c.ip, 7010, { message, bytes })
  t.like((await (await a.run(argv)).finish()).report(), { ok: true })
  await echo.stop()
  const seen = await capture.stop()
  t.is(seen.lost, 0)
  t.is(seen.find('a secret').length, 2)
  t.true(seen.find('a secret').every((flow) => flow.includes(`${c.ip}:7010`)))
  t.deepEqual(seen.find('not in there'), [])
  t.true((await whole.stop()).find('a secret').length >= 2)
  t.is((await filtered.stop()).packets.length, 0)
})

test('pods of one node talk without the wire', async (t) => {
  const capture = await lab.capture(one)
  await a.exec(['ping', '-c', '2', '-i', '0.2', '-p', '7765667465726e', b.ip])
  t.deepEqual((await capture.stop()).find('weftern'), [])
})

test('a cut link loses packets until it is restored', async (t) => {
  const ping = () => a.exec(['ping', '-c', '1', '-W', '1', c.ip], { check: false })
  await lab.dropLink(two)
  t.not((await ping()).code, 0)
  await lab.restoreLink(two)
  await lab.waitUntil(async () => (await ping()).code === 0, 'the link')
  t.pass()
})

test('a new pod does not change the address under which others know their gateway', async (t) => {
  const address = async () => {
    const { stdout } = await one.exec(['ip', 'link', 'show', 'dev', 'pods0'])
    return /link\/ether (\S+)/.exec(stdout)?.[1]
  }
  const before = await address()
  const low = await one.pod('low')
  // The lowest there can be, which a bridge without an address of its own would take.
  await one.exec([
    'sh',
    '-ec',
    `d=p${one.pods.length}
    ip link set $d nomaster; ip link set $d address 02:00:00:00:00:01; ip link set $d master pods0`,
  ])
  t.truthy(before)
  t.is(await address(), before)
  await low.remove()
})

test('packets past the stack reach another pod while nothing guards', async (t) => {
  const capture = await lab.capture(two)
  const { stdout } = await a.exec(['ip', 'neigh', 'show', one.addresses.gateway4])
  const mac = /lladdr (\S+)/.exec(stdout)?.[1] ?? ''
  for (const mode of ['ip', 'syn', 'packet', 'packet-bypass'] as const) {
    const options = { source: a.ip, destination: c.ip, mark: `past-${mode}!`, mac }
    t.like((await (await a.run(programs.rawSend(mode, options))).finish()).report(), { ok: true })
  }
  const seen = await capture.stop()
  for (const mode of ['ip', 'syn', 'packet', 'packet-bypass']) {
    t.true(seen.find(`past-${mode}!`).length > 0, mode)
  }
})

test('a removed pod leaves nothing', async (t) => {
  const gone = await one.pod('gone')
  await gone.run(programs.server('echo', 7011), { waitFor: programs.LISTENING })
  t.true(cgroupPids(gone.cgroup).length >= 2)
  await gone.remove()
  t.false(existsSync(gone.cgroup))
  t.false(findLeftovers(lab.prefix).some(({ name }) => name === gone.netns))
})

test('programs that end badly say so', async (t) => {
  const failed = await a.run(['sh', '-c', 'echo because >&2; exit 3'])
  await t.throwsAsync(failed.finish(), { message: /because/ })
  await t.throwsAsync(a.run(['true'], { waitFor: 'never' }), { message: /never/ })
  await t.throwsAsync(a.exec(['sh', '-c', 'echo oh; exit 4']), { message: /ended with 4: oh/ })
  t.is((await a.exec(['sh', '-c', 'exit 4'], { check: false })).code, 4)
})
