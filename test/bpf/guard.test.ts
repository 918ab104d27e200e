import test from 'ava'
import type { Pod } from '../lab/pod.ts'
import {
  client,
  connectMany,
  hold,
  type ManyReport,
  PYTHON,
  rawSend,
  server,
  udpEcho,
  udpSend,
} from '../lab/programs.ts'
import { load, waitUntil } from '../lab/wait.ts'
import { directTo, OLDER_FORMS, Stage } from './stage.ts'

/** guard-older.test.ts runs all of this again. */
const forms = test.meta.file.endsWith('/guard-older.test.ts') ? OLDER_FORMS : {}

let stage: Stage
let a: Pod
let b: Pod
/** Never enrolled, and not below the watched cgroup: a witness on the bridge. */
let outside: Pod
const FREE = { outsideCgroup: true }

interface Report {
  readonly ok: boolean
  readonly error?: string
}

async function run(
  pod: Pod,
  argv: readonly string[],
  options: { outsideCgroup?: boolean } = {},
): Promise<Report> {
  const { stdout, stderr } = await pod.exec(argv, { check: false, ...options })
  if (stdout === '') throw new Error(stderr)
  return JSON.parse(stdout) as Report
}

async function macOf(pod: Pod): Promise<string> {
  const { stdout } = await pod.exec(['ip', '-o', 'link', 'show', 'eth0'], FREE)
  return /link\/ether (\S+)/.exec(stdout)?.[1] ?? ''
}

/** Whether a packet that carries `mark` reaches the witness while `task` runs. */
async function arrives(mark: string, task: () => Promise<unknown>): Promise<boolean> {
  const witness = await outside.run(
    [
      PYTHON,
      '-uc',
      `import socket,select,sys
s=socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(("eth0",0))
print("watching", flush=True)
while True:
    ready,_,_=select.select([s,sys.stdin],[],[])
    while s in select.select([s],[],[],0)[0]:
        if b"${mark}" in s.recv(65535): print("seen", flush=True)
    if sys.stdin in ready:
        print("done", flush=True); break`,
    ],
    { waitFor: 'watching' },
  )
  await task()
  witness.write('end\n')
  await witness.waitFor('done')
  return witness.stdout.includes('seen')
}

test.before(async () => {
  stage = await Stage.open(forms)
  await stage.begin()
  a = await stage.pod('a')
  b = await stage.pod('b')
  outside = await stage.node.pod('outside')
  // So that a forged address of the witness's own neighbour is no excuse.
  await outside.exec(['ping', '-c', '1', '-W', '2', stage.node.addresses.gateway4], FREE)
})

test.after.always(() => stage?.close())

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain())
})

for (const mode of ['ip', 'syn', 'packet', 'packet-bypass'] as const) {
  for (const outsideCgroup of [false, true]) {
    const who = outsideCgroup ? 'a process outside the pod cgroup' : 'a program of the pod'
    test.serial(`${who} cannot send by ${mode}`, async (t) => {
      const mark = `evil-${mode}-${outsideCgroup}`
      const argv = rawSend(mode, {
        source: a.ip,
        destination: outside.ip,
        mark,
        mac: await macOf(outside),
        count: 3,
      })
      t.false(await arrives(mark, () => run(a, argv, { outsideCgroup })))
    })
  }
}

test.serial('the witness would see such a packet', async (t) => {
  const free = await stage.node.pod('free')
  const mac = await macOf(outside)
  const argv = rawSend('packet-bypass', {
    source: free.ip,
    destination: outside.ip,
    mark: 'plain',
    mac,
  })
  t.true(await arrives('plain', () => run(free, argv, FREE)))
})

test.serial('a process outside the pod cgroup reaches nobody over TCP', async (t) => {
  await outside.run(server('identity', 4000, { name: 'outside' }), {
    waitFor: 'listening',
    ...FREE,
  })
  const argv = client('connect', outside.ip, 4000, { timeoutSeconds: 1 })
  t.is((await run(a, argv, { outsideCgroup: true })).error, 'ETIMEDOUT')
  t.true((await run(outside, client('connect', outside.ip, 4000), FREE)).ok)
})

test.serial('a namespace behind the pod reaches nobody', async (t) => {
  const nested = `${a.netns}-in`
  const script = [
    `ip netns add ${nested}`,
    `ip -n ${a.netns} link add inner type veth peer name eth0 netns ${nested}`,
    `ip -n ${a.netns} addr add 192.168.77.1/24 dev inner`,
    `ip -n ${a.netns} link set inner up`,
    `ip -n ${nested} addr add 192.168.77.2/24 dev eth0`,
    `ip -n ${nested} link set eth0 up`,
    `ip -n ${nested} route add default via 192.168.77.1`,
    `nsenter --net=/run/netns/${a.netns} sysctl -qw net.ipv4.ip_forward=1`,
  ]
  await stage.node.exec(['sh', '-ec', script.join('\n')])
  const before = (await stage.driver.counters()).guard_dropped ?? 0
  const reach = [
    PYTHON,
    '-c',
    `import socket
u=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.sendto(b"evil-nested", ("${outside.ip}", 9))
s=socket.socket(); s.settimeout(1)
try: s.connect(("${outside.ip}", 4000)); print("connected")
except OSError as error: print(type(error).__name__)`,
  ]
  let said = ''
  const seen = await arrives('evil-nested', async () => {
    const { stdout } = await stage.node.exec(['nsenter', `--net=/run/netns/${nested}`, ...reach])
    said = stdout.trim()
  })
  t.false(seen)
  t.is(said, 'TimeoutError')
  t.true(((await stage.driver.counters()).guard_dropped ?? 0) >= before + 2)
  await stage.node.exec(['ip', 'netns', 'del', nested])
})

test.serial('packets from a stolen address go nowhere', async (t) => {
  await a.exec(['ip', 'addr', 'add', `${b.v4}/32`, 'dev', 'eth0'])
  const before = (await stage.driver.counters()).spoofed_dropped ?? 0
  const seen = await arrives('evil-stolen', () =>
    a.exec([
      PYTHON,
      '-c',
      `import socket
u=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("${b.v4}", 0))
u.sendto(b"evil-stolen", ("${outside.ip}", 9))`,
    ]),
  )
  t.false(seen)
  t.true(((await stage.driver.counters()).spoofed_dropped ?? 0) > before)
  await a.exec(['ip', 'addr', 'del', `${b.v4}/32`, 'dev', 'eth0'])
})

test.serial('a pod cannot answer for an address that is not its own', async (t) => {
  for (const stolen of ['10.244.1.200', 'fd00:244:0:1::200']) {
    const before = (await stage.driver.counters()).spoofed_dropped ?? 0
    const nodad = stolen.includes(':') ? ['nodad'] : []
    await a.exec(['ip', 'addr', 'add', stolen, 'dev', 'eth0', ...nodad])
    const ping = await outside.exec(['ping', '-c', '1', '-W', '1', stolen], {
      check: false,
      ...FREE,
    })
    t.not(ping.code, 0, stolen)
    t.true(((await stage.driver.counters()).spoofed_dropped ?? 0) > before, stolen)
    await a.exec(['ip', 'addr', 'del', stolen, 'dev', 'eth0'])
  }
})

test.serial('what pods may do still works, with fresh neighbours', async (t) => {
  const dropped = async () => {
    const counters = await stage.driver.counters()
    return (counters.unstamped_dropped ?? 0) + (counters.spoofed_dropped ?? 0)
  }
  for (const pod of [a, b]) await pod.exec(['ip', 'neigh', 'flush', 'all'])
  const before = await dropped()
  for (const address of b.addresses) {
    await t.notThrowsAsync(a.exec(['ping', '-c', '1', '-W', '2', address]), address)
    await t.notThrowsAsync(stage.node.exec(['ping', '-c', '1', '-W', '2', address]), address)
  }
  await outside.run(udpEcho(5353), { waitFor: 'listening', ...FREE })
  for (const connected of [false, true]) {
    t.true((await run(a, udpSend(outside.ip, 5353, 'hello', connected))).ok)
  }
  await b.run(udpEcho(5354), { waitFor: 'listening' })
  t.true((await run(outside, udpSend(b.ip, 5354, 'hello'), FREE)).ok, 'a UDP server answers')
  t.true(((await stage.driver.counters()).udp_passed ?? 0) > 0)
  const unreachable = await run(outside, udpSend(b.ip, 9, 'x', true), FREE)
  t.regex(unreachable.error ?? '', /refused/i, 'ICMP errors leave the pod')
  t.is(await dropped(), before)
})

test.serial('direct connections pass both guards, with and without SYN cookies', async (t) => {
  await b.run(server('identity', 7000, { name: 'b' }), { waitFor: 'listening' })
  const verdicts = [{ source: 'a', destination: 'b', port: 7000, verdict: 'allow' as const }]
  await stage.driver.call('generation', directTo(b, 7000, verdicts))
  const before = await stage.driver.counters()
  for (const cookies of [1, 2]) {
    await b.setSysctls({ 'net.ipv4.tcp_syncookies': cookies })
    const targets = b.addresses.map((host) => ({ host, port: 7000, name: 'b' }))
    const many = await a.run(connectMany(targets, load(2000), 32))
    await many.finish(60_000)
    t.is(many.report<ManyReport>().ok, load(2000), `cookies ${cookies}`)
  }
  const after = await stage.driver.counters()
  for (const name of ['guard_dropped', 'unstamped_dropped', 'spoofed_dropped']) {
    t.is(after[name], before[name], name)
  }
  await b.setSysctls({ 'net.ipv4.tcp_syncookies': 1 })
})

test.serial('sockets older than enrolment live on until they are ended', async (t) => {
  const late = await stage.node.pod('late')
  await stage.driver.call('configure', { unknown: 'pass', directPath: true, workers: 4 })
  await outside.run(server('echo', 4001), { waitFor: 'listening', ...FREE })
  await late.run(server('echo', 4002), { waitFor: 'listening' })
  await late.run(udpEcho(5355), { waitFor: 'listening' })
  const out = await late.run(hold(outside.ip, 4001, 2), { waitFor: 'held 2' })
  const into = await outside.run(hold(late.ip, 4002, 3), { waitFor: 'held 3', ...FREE })
  const inner = await late.run(hold('127.0.0.1', 4002, 1), { waitFor: 'held 1' })
  await stage.driver.enrol(late)
  const answer = async (turn: number, ok: number) => {
    for (const program of [out, into, inner]) program.write('ping\n')
    for (const [program, count] of [
      [out, ok * 2],
      [into, ok * 3],
      [inner, 1],
    ] as const) {
      const lines = () => program.stdout.match(/^\{.*\}$/gm) ?? []
      await waitUntil(() => lines().length === turn, `answer ${turn}`)
      t.is(JSON.parse(lines()[turn - 1] ?? '{}').ok, count)
    }
  }
  await answer(1, 1)
  t.true((await run(outside, udpSend(late.ip, 5355, 'hello'), FREE)).ok)
  t.deepEqual(await stage.driver.call('listening', 'late'), [4002])
  t.is(await stage.driver.call('endInherited', 'late'), 5)
  await answer(2, 0)
  t.is(await stage.driver.call('endInherited', 'late'), 0)
  for (const program of [out, into, inner]) program.kill()
})
