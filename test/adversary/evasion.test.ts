// From inside a pod, with every right in its namespace: nothing of what it tries leaves the node but
// the mesh's own packets, and nobody else's packets come to it. Every attack is made from pods that
// are not in the mesh as well, where it must succeed.
import { randomBytes } from 'node:crypto'
import test, { type ExecutionContext } from 'ava'
import { meshConfig, peerAuthentication } from '../lab/mesh-config.ts'
import type { Pod } from '../lab/pod.ts'
import * as programs from '../lab/programs.ts'
import { call, Mesh, type Report, serve, servicePort } from '../mesh/mesh.ts'
import { atPodDuring, attack, macOf, OUTSIDE, onWireDuring, strangers } from './attack.ts'

const ECHO = 7000

let mesh: Mesh
let evil: Pod
/** On the attacker's node; its port is declared TCP, so that the kernel completes connections. */
let near: Pod
let shy: Pod
let far: Pod
/** Never enrolled: who attacks from here, or is attacked, has no mesh. */
let free: Pod
let loose: Pod
let witness: Pod
let gatewayMac: string

test.before(async () => {
  mesh = await Mesh.open()
  const { one, two, lab } = mesh
  evil = await mesh.pod(one, 'evil')
  near = await mesh.pod(one, 'near')
  shy = await mesh.pod(one, 'shy')
  far = await mesh.pod(two, 'far')
  lab.config.write('services.yaml', [
    mesh.service('near', { app: 'near' }, [ECHO], 'tcp'),
    // What is still being tried need not be waited for at the end.
    meshConfig({ drainTimeoutMs: '100ms' }),
  ])
  await mesh.start()
  free = await one.pod('free')
  loose = await one.pod('loose')
  witness = await one.pod('witness')
  gatewayMac = await macOf(one, 'pods0')
  await serve(near, programs.server('echo', ECHO))
  await serve(far, programs.server('echo', ECHO))
  await witness.run(programs.server('echo', ECHO), { waitFor: programs.LISTENING, ...OUTSIDE })
})

test.after.always(() => mesh?.close())

const secret = (): string => `secret-${randomBytes(8).toString('hex')}`

type From = Parameters<Pod['exec']>[1]

/** Never in the mesh's cgroup: the watched cgroup refuses whom it does not know. */
const placeOf = (pod: Pod, place: From = {}): From =>
  [free, loose, witness].includes(pod) ? OUTSIDE : place

async function run(pod: Pod, argv: readonly string[], place?: From): Promise<Report> {
  const { stdout, stderr } = await pod.exec(argv, { check: false, ...placeOf(pod, place) })
  const last = stdout.trimEnd().split('\n').at(-1) ?? ''
  if (!last.startsWith('{')) throw new Error(`${argv.join(' ')}: ${stderr}${stdout}`)
  return JSON.parse(last) as Report
}

const shell = (pod: Pod, lines: readonly string[]) =>
  pod.exec(['sh', '-ec', lines.join('\n')], placeOf(pod, OUTSIDE))

/** Nothing but the mesh's packets passes between the nodes, and nothing is readable. */
async function leavesNothing(
  t: ExecutionContext,
  mark: string,
  task: () => Promise<unknown>,
): Promise<void> {
  const recording = await onWireDuring(mesh.lab, task)
  t.is(recording.lost, 0)
  t.deepEqual(strangers(recording), [])
  t.deepEqual(recording.find(mark), [])
}

/** The proof that the attack works, and that it would be seen. */
async function leaves(
  t: ExecutionContext,
  mark: string,
  task: () => Promise<unknown>,
): Promise<void> {
  const recording = await onWireDuring(mesh.lab, task)
  t.not(recording.find(mark).length, 0, 'the attack works where there is no mesh')
  t.not(strangers(recording).length, 0)
}

const tcp = (host: string, message: string, options: programs.ClientOptions = {}): string[] =>
  programs.client('echo', host, ECHO, { message, timeoutSeconds: 1, ...options })

const udp = (host: string, message: string): string[] =>
  attack('udp', host, { port: ECHO, message })

const RAW: Readonly<Record<string, (from: Pod, message: string) => string[]>> = {
  'raw IP': (from, mark) => raw('ip', from, mark),
  'a forged SYN': (from, mark) => raw('syn', from, mark),
  AF_PACKET: (from, mark) => raw('packet', from, mark),
  'AF_PACKET with PACKET_QDISC_BYPASS': (from, mark) => raw('packet-bypass', from, mark),
  'raw IPv6': (_, message) => attack('raw6', far.v6 ?? '', { message }),
}

function raw(mode: Parameters<typeof programs.rawSend>[0], from: Pod, mark: string): string[] {
  const options = { source: from.ip, destination: far.ip, mark, mac: gatewayMac, count: 3 }
  return programs.rawSend(mode, options)
}

for (const [name, argv] of Object.entries(RAW)) {
  test(`nothing leaves by ${name}`, async (t) => {
    const mark = secret()
    await leavesNothing(t, mark, async () => {
      await run(evil, argv(evil, mark))
      await run(evil, argv(evil, mark), OUTSIDE)
    })
    await leaves(t, mark, () => run(free, argv(free, mark)))
  })
}

test('a process in the network of a pod but outside its cgroup reaches nobody', async (t) => {
  const mark = secret()
  await leavesNothing(t, mark, async () => {
    const attempts = far.addresses.map(async (address) => {
      await run(evil, udp(address, mark), OUTSIDE)
      t.is((await run(evil, tcp(address, mark), OUTSIDE)).error, 'ETIMEDOUT', address)
    })
    await Promise.all(attempts)
  })
  for (const argv of [tcp(far.ip, mark), udp(far.ip, mark)]) {
    await leaves(t, mark, () => run(free, argv))
  }
  await leavesNothing(t, mark, async () => t.true((await run(evil, tcp(far.ip, mark))).ok))
})

/** A namespace behind the pod, which forwards and translates for it. */
async function nest(pod: Pod): Promise<(argv: readonly string[]) => readonly string[]> {
  const inner = `${pod.netns}-in`
  await shell(pod, [
    `ip netns add ${inner}`,
    `ip -n ${inner} link add eth0 type veth peer name inner netns ${pod.netns}`,
    `ip -n ${inner} addr add 192.168.77.2/24 dev eth0`,
    `ip -n ${inner} link set eth0 up`,
    'ip addr add 192.168.77.1/24 dev inner',
    'ip link set inner up',
    `ip -n ${inner} route add default via 192.168.77.1`,
    'echo 1 > /proc/sys/net/ipv4/ip_forward',
    'nft add table ip nest',
    "nft 'add chain ip nest out { type nat hook postrouting priority 100; }'",
    'nft add rule ip nest out ip saddr 192.168.77.2 masquerade',
  ])
  return (argv) => ['nsenter', `--net=/run/netns/${inner}`, '--', ...argv]
}

test('a namespace behind the pod reaches nobody through it', async (t) => {
  const mark = secret()
  const within = await nest(evil)
  await leavesNothing(t, mark, async () => {
    t.is((await run(evil, within(tcp(far.ip, mark)), OUTSIDE)).error, 'ETIMEDOUT')
    await run(evil, within(udp(far.ip, mark)), OUTSIDE)
    await run(evil, within(raw('ip', evil, mark)), OUTSIDE)
    // The same as a program of the pod: of a namespace that no workload is known in.
    t.is((await run(evil, within(tcp(far.ip, mark)))).error, 'ECONNREFUSED')
  })
  const beyond = await nest(free)
  await leaves(t, mark, () => run(free, beyond(tcp(far.ip, mark))))
  await shell(evil, ['nft delete table ip nest'])
})

interface Detour {
  readonly name: string
  /** What the program asks for, and where that is led to. */
  readonly asks: () => readonly [host: string, port: number]
  readonly leads: () => readonly [from: string, to: string]
}

const DETOURS: readonly Detour[] = [
  {
    name: 'a connection to a link-local address',
    asks: () => ['169.254.77.7', ECHO],
    leads: () => ['169.254.77.7', far.ip],
  },
  {
    name: 'a direct connection',
    asks: () => [mesh.vip('near').v4, servicePort(ECHO)],
    leads: () => [near.ip, far.ip],
  },
  {
    name: "one of the agent's own, to outside the mesh",
    asks: () => ['198.51.100.7', ECHO],
    leads: () => ['198.51.100.7', far.ip],
  },
  {
    name: "one of the agent's own, over IPv6",
    asks: () => ['2001:db8::7', ECHO],
    leads: () => ['2001:db8::7', far.v6 ?? ''],
  },
]

async function translate(pod: Pod, [from, to]: readonly [string, string]): Promise<void> {
  const family = to.includes(':') ? 'ip6' : 'ip'
  await shell(pod, [
    `nft add table ${family} detour`,
    `nft 'add chain ${family} detour out { type nat hook output priority -100; }'`,
    `nft add rule ${family} detour out ${family} daddr ${from} dnat to ${to}`,
  ])
}

for (const { name, asks, leads } of DETOURS) {
  test(`address translation in the pod does not lead ${name} to another node`, async (t) => {
    const mark = secret()
    const options = { message: mark, timeoutSeconds: 1 }
    await translate(evil, leads())
    await leavesNothing(t, mark, async () => {
      t.false((await run(evil, programs.client('echo', ...asks(), options))).ok)
    })
    await shell(evil, ['nft flush ruleset'])
    await translate(free, leads())
    await leaves(t, mark, () => run(free, programs.client('echo', leads()[0], ECHO, options)))
    await shell(free, ['nft flush ruleset'])
  })
}

test("the agent's mark, forged, opens nothing", async (t) => {
  const mark = secret()
  const forged = attack('connect', far.ip, { port: ECHO, message: mark, mark: '0x111' })
  await leavesNothing(t, mark, async () => {
    await run(evil, forged)
    t.is((await run(evil, forged, OUTSIDE)).ok, false)
  })
  await leaves(t, mark, () => run(free, forged))
})

test('a second address of the pod is nobody', async (t) => {
  const mark = secret()
  const second = (pod: Pod): string => pod.ip.replace(/\.(\d+)$/, '.1$1')
  for (const pod of [evil, free]) await shell(pod, [`ip addr add ${second(pod)}/24 dev eth0`])
  await leavesNothing(t, mark, async () => {
    const bound = { bind: second(evil) }
    t.false((await run(evil, tcp(far.ip, mark, bound))).ok)
    t.false((await run(evil, tcp(far.ip, mark, bound), OUTSIDE)).ok)
    t.false(
      (
        await run(
          evil,
          programs.client('echo', mesh.vip('near').v4, servicePort(ECHO), {
            ...bound,
            timeoutSeconds: 1,
          }),
        )
      ).ok,
    )
  })
  await leaves(t, mark, () => run(free, tcp(far.ip, mark, { bind: second(free) })))
})

test('a pod that removes rules, settings and queues harms itself alone', async (t) => {
  const mark = secret()
  await shell(evil, [
    'ip rule flush; ip rule add lookup local; ip rule add lookup main',
    'ip -6 rule flush; ip -6 rule add lookup local; ip -6 rule add lookup main',
    'ip route flush table 100; ip -6 route flush table 100',
    'for name in tcp_fwmark_accept fwmark_reflect; do echo 0 > /proc/sys/net/ipv4/$name; done',
    'tc qdisc add dev eth0 clsact; tc filter del dev eth0 egress; tc qdisc del dev eth0 clsact',
    'tc qdisc replace dev eth0 root tbf rate 1gbit burst 1mb latency 50ms',
    'tc qdisc del dev eth0 root',
  ])
  await leavesNothing(t, mark, async () => {
    for (const argv of Object.values(RAW)) await run(evil, argv(evil, mark))
    t.is((await run(evil, tcp(far.ip, mark), OUTSIDE)).error, 'ETIMEDOUT')
    t.true((await run(evil, tcp(far.ip, mark))).ok, 'its own calls need none of them')
    t.true((await run(shy, tcp(far.ip, mark))).ok)
  })
})

/** Frames in which `owner`'s address is claimed under `mac`. */
const claims = (frames: readonly { readonly frame: Buffer }[], owner: string, mac: string) => {
  const address = owner.includes(':')
    ? Buffer.from(owner.split(':').at(-1)?.padStart(4, '0') ?? '', 'hex')
    : Buffer.from(owner.split('.').map(Number))
  const from = Buffer.from(mac.replaceAll(':', ''), 'hex')
  return frames.filter(({ frame }) => {
    const type = frame.readUInt16BE(12)
    const isClaim = type === 0x0806 || (type === 0x86dd && frame.at(54) === 136)
    return isClaim && frame.includes(from) && frame.includes(address)
  }).length
}

test('a pod cannot claim the address of another', async (t) => {
  const { lab, one } = mesh
  const attempt = async (thief: Pod): Promise<number> => {
    await shell(thief, [`ip addr add ${near.ip}/32 dev eth0`])
    const mac = await macOf(thief)
    const recording = await atPodDuring(lab, one, witness, async () => {
      for (const place of [{}, OUTSIDE]) {
        await run(thief, attack('arp', near.ip), place)
        await run(thief, attack('neighbour', near.v6 ?? ''), place)
      }
    })
    await shell(thief, [`ip addr del ${near.ip}/32 dev eth0`])
    return claims(recording.packets, near.ip, mac) + claims(recording.packets, near.v6 ?? '', mac)
  }
  t.is(await attempt(evil), 0)
  t.not(await attempt(free), 0, 'the attack works where there is no mesh')
  const { stdout } = await one.exec(['ip', 'neigh', 'show', near.ip])
  t.false(stdout.includes(await macOf(evil)), stdout)
  t.true((await run(shy, programs.client('echo', mesh.vip('near').v4, servicePort(ECHO)))).ok)
})

/** Whether `thief`, under `victim`'s link address, sees what `client` sends to `victim`. */
async function overhears(thief: Pod, client: Pod, victim: Pod, host: string, port: number) {
  const held = programs.hold(host, port, 1)
  const talk = await client.run(held, { waitFor: 'held 1', ...placeOf(client) })
  const own = await macOf(thief)
  const stolen = await macOf(victim)
  const listen = ['tcpdump', '-i', 'eth0', '-n', '-l', 'tcp or icmp']
  const ear = await thief.run(listen, { waitFor: 'listening on', ...OUTSIDE })
  await shell(thief, [`ip link set eth0 address ${stolen}`])
  // The bridge learns from whatever is sent.
  await thief.exec(['ping', '-c', '1', '-W', '1', mesh.one.addresses.gateway4], {
    check: false,
    ...OUTSIDE,
  })
  await run(thief, attack('arp', thief.ip, { mac: stolen }))
  talk.write('once\n')
  const flow = new RegExp(
    `${RegExp.escape(client.ip)}\\.\\d+ > ${RegExp.escape(victim.ip)}\\.${ECHO}`,
  )
  const heard = () => flow.test(ear.stdout)
  await mesh.lab.waitUntil(() => heard() || talk.stdout.includes('"ok":1'), 'an answer, or a thief')
  talk.kill()
  await shell(thief, [`ip link set eth0 address ${own}`])
  // The ear hears: the answer comes to the thief's own address again.
  await thief.exec(['ping', '-c', '1', mesh.one.addresses.gateway4], OUTSIDE)
  await ear.waitFor('echo reply')
  ear.kill('SIGINT')
  return heard()
}

test('a pod with the link address of another draws nothing of its packets', async (t) => {
  const { v4 } = mesh.vip('near')
  t.false(await overhears(evil, shy, near, v4, servicePort(ECHO)))
  t.true(await overhears(free, loose, witness, witness.ip, ECHO), 'without the mesh it does')
})

test('a direct connection is not vouched for under an address of somebody else', async (t) => {
  await mesh.apply('strict.yaml', [
    peerAuthentication('strict', 'default', {
      selector: { matchLabels: { app: 'near' } },
      mtls: { mode: 'STRICT' },
    }),
  ])
  const port = 23_456
  const source = { source: mesh.two.ip, sourcePort: port, timeoutSeconds: 10 }
  const forged = attack('connect', mesh.vip('near').v4, { port: servicePort(ECHO), ...source })
  const intruder = programs.client('echo', near.ip, ECHO, { bindPort: port, timeoutSeconds: 2 })
  const accomplice = await evil.run(forged, { waitFor: 'connecting' })
  await mesh.lab.waitUntil(async () => {
    const { stdout } = await evil.exec(['ss', '-tn', 'state', 'syn-sent'])
    return stdout.includes(`${mesh.two.ip}:${port}`) && stdout.includes(`${near.ip}:${ECHO}`)
  }, 'the forged connection to be under way')
  t.is((await call(mesh.two, intruder)).error, 'ECONNRESET')
  accomplice.kill()
  await mesh.remove('strict.yaml')
  t.true((await call(mesh.two, intruder)).ok, 'plaintext is refused under STRICT only')
})
