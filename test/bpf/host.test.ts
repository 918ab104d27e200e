// Workloads that share the node's network: known by cgroup, told apart by port.
import { release } from 'node:os'
import test, { type ExecutionContext } from 'ava'
import type { Node } from '../lab/node.ts'
import type { Program } from '../lab/program.ts'
import { connectMany, hold, type ManyReport, PYTHON, server } from '../lab/programs.ts'
import { waitUntil } from '../lab/wait.ts'
import { answererOf, ask, Doorman, enrolHost, portsOf, waitForPorts } from './host-stage.ts'
import { Stage } from './stage.ts'

const OUTSIDE = '198.51.100.1'
const OUTSIDE6 = '2001:db8::1'
const SSH = 7022
const [major = 0, minor = 0] = release().split('.').map(Number)
/** Of listeners that were there before the programs. */
const TELLS_OF_ENDS = major > 6 || (major === 6 && minor >= 10)

let stage: Stage
let other: Node

const mapSize = (name: string): Promise<number> => stage.driver.call('mapSize', name)
const count = async (name: string): Promise<number> => (await stage.driver.counters())[name] ?? 0

/** Until it is gone: what it listens on would be found again. */
async function end(...programs: readonly Program[]): Promise<void> {
  for (const program of programs) program.kill()
  await Promise.all(programs.map(({ exited }) => exited))
}

async function withdraw(...uids: readonly string[]): Promise<void> {
  for (const uid of uids) await stage.driver.call('withdrawHost', uid)
}

test.before(async () => {
  stage = await Stage.open()
  other = await stage.lab.node('n2')
  await stage.begin()
  // Stands for what must always be reachable, and is in no workload's cgroup.
  await stage.node.run(server('identity', SSH, { name: 'ssh' }), { waitFor: 'listening' })
})

test.after.always(() => stage?.close())

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain(), await portsOf(stage).catch(String))
})

/** The ssh-like server is reached from everywhere, and captured nowhere. */
async function requireUntouched(t: ExecutionContext): Promise<void> {
  const { node } = stage
  for (const who of [node, other]) {
    for (const address of [node.addresses.v4, node.addresses.v6]) {
      t.is(await answererOf(who, address, SSH), 'ssh', address)
    }
  }
  t.is(await answererOf(node, '127.0.0.1', SSH), 'ssh')
}

test.serial('a workload is captured as soon as it is known, wherever it connects to', async (t) => {
  const web = stage.node.service('web')
  const below = `${web.cgroup}/a/b/c/d/e/f/g/h`
  const deeper = { exec: (argv: readonly string[]) => stage.node.exec(argv, { cgroup: below }) }
  const number = await enrolHost(stage, web)
  const { gateway4 } = stage.node.addresses
  for (const who of [web, deeper]) {
    for (const ip of [OUTSIDE, OUTSIDE6, other.ip, gateway4]) {
      const answer = await ask(who, ip, 80)
      const text = ip.includes(':') ? `[${ip}]:80` : `${ip}:80`
      t.deepEqual([answer.class, answer.name, answer.workload], ['outbound', text, number])
    }
  }
  const { v4, v6 } = stage.node.addresses
  for (const [bind, ip] of [
    [v4, OUTSIDE],
    [v6, OUTSIDE6],
    ['127.0.0.9', OUTSIDE],
  ] as const) {
    t.is((await ask(web, ip, 80, { bind })).workload, number, `bound to ${bind}`)
  }
  for (const ip of [OUTSIDE, OUTSIDE6]) {
    t.is((await ask(web, ip, 80, { device: 'eth0' })).workload, number, `${ip} by a device`)
  }
  t.is((await ask(stage.node, OUTSIDE, 80)).class, undefined, 'nobody else is')
  t.is(await answererOf(web, stage.node.ip, SSH), 'ssh', "the node's other services are reached")
  t.is(await answererOf(web, '127.0.0.1', SSH), 'ssh')
  await requireUntouched(t)
  await withdraw('web')
  t.is((await ask(web, other.ip, 80)).error, 'ECONNREFUSED', 'by the other node itself')
})

test.serial('an address that is not the node’s leads nowhere: nothing leaves for it', async (t) => {
  const lost = stage.node.service('lost')
  const thief = `
import select,socket
doors=[socket.create_server(("", port)) for port in range(15101, 15133)]; print("listening", flush=True)
while True:
    for door in select.select(doors,[],[])[0]: door.accept()[0].sendall(b'{"name":"thief"}')`
  const program = await other.run([PYTHON, '-uc', thief], { waitFor: 'listening' })
  const { v4, v6 } = other.addresses
  const { number } = await stage.driver.call<{ number: number }>('enrolHost', {
    uid: 'lost',
    cgroup: lost.cgroup,
    addresses: [v4, v6],
    ports: [],
  })
  for (const ip of [OUTSIDE, OUTSIDE6, stage.node.ip.replace(/\d+$/, '77')]) {
    const answer = await ask(lost, ip, 80)
    t.deepEqual([answer.class, answer.workload], ['outbound', number], ip)
  }
  program.kill()
  await withdraw('lost')
})

test.serial('what comes for a port of its own goes to the agent, and no other', async (t) => {
  const web = stage.node.service('web')
  const number = await enrolHost(stage, web)
  const doorman = await Doorman.start(web, 'web')
  const { v4, v6 } = stage.node.addresses
  const cases: readonly [string, readonly string[], readonly string[], readonly string[]][] = [
    // Listens at, flags, is reached at, is not reached at.
    ['0.0.0.0', [], [v4, '127.0.0.1'], [v6, '::1']],
    ['::', [], [v4, '127.0.0.1', v6, '::1'], []],
    ['::', ['v6only'], [v6, '::1'], [v4, '127.0.0.1']],
    ['127.0.0.1', [], ['127.0.0.1'], [v4, '::1']],
    ['::1', [], ['::1'], [v6, '127.0.0.1']],
    [v4, [], [v4], ['127.0.0.1']],
  ]
  for (const [host, flags, reached, unreached] of cases) {
    const key = await doorman.open(host, 7100, ...flags)
    for (const address of reached) {
      const answer = await ask(stage.node, address, 7100)
      t.deepEqual([answer.class, answer.workload], ['plaintext', number], `${host} ${address}`)
      t.is(await answererOf(web, address, 7100), 'web', `its own call: ${host} ${address}`)
    }
    for (const address of unreached) {
      t.is(await answererOf(stage.node, address, 7100), 'ECONNREFUSED', `${host} ${address}`)
    }
    const isLocal = host === '127.0.0.1' || host === '::1'
    const address = host.startsWith('::') ? v6 : v4
    t.is(await answererOf(other, address, 7100), isLocal ? 'ECONNREFUSED' : 'plaintext', host)
    await doorman.close(key)
    await waitForPorts(stage, [])
    t.is(await answererOf(stage.node, reached[0] ?? '', 7100), 'ECONNREFUSED', 'closed')
  }
  t.is(await mapSize('weft_attest'), 0)
  await requireUntouched(t)
  await end(doorman.program)
  await withdraw('web')
})

test.serial('a port is its own until the last of its listeners is closed', async (t) => {
  const web = stage.node.service('web')
  await enrolHost(stage, web)
  const doorman = await Doorman.start(web, 'web')
  const first = await doorman.open('0.0.0.0', 7101, 'reuseport')
  const second = await doorman.open('0.0.0.0', 7101, 'reuseport')
  await doorman.close(first)
  t.deepEqual(await portsOf(stage), ['web 0.0.0.0 7101'])
  t.is(await answererOf(other, stage.node.ip, 7101), 'plaintext')
  await doorman.close(second)
  await waitForPorts(stage, [])
  // Another program may have it now, and again the workload.
  const stranger = await Doorman.start(stage.node, 'stranger')
  await stranger.open('0.0.0.0', 7101)
  t.is(await answererOf(other, stage.node.ip, 7101), 'stranger')
  stranger.program.kill('SIGKILL')
  await stranger.program.exited
  await doorman.open('0.0.0.0', 7101)
  t.is(await answererOf(other, stage.node.ip, 7101), 'plaintext')
  doorman.program.kill('SIGKILL')
  await waitForPorts(stage, [])
  await withdraw('web')
})

test.serial('opening and closing at once never loses count', async (t) => {
  const web = stage.node.service('web')
  await enrolHost(stage, web)
  const churn = `import socket, threading
def churn(port):
    for _ in range(300):
        s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("0.0.0.0", port)); s.listen(); s.close()
threads = [threading.Thread(target=churn, args=(7110 + i % 2,)) for i in range(8)]
[one.start() for one in threads]; [one.join() for one in threads]`
  await Promise.all([1, 2].map(() => web.exec([PYTHON, '-c', churn])))
  t.deepEqual(await portsOf(stage), [])
  t.is(await count('ports_full'), 0)
  await withdraw('web')
})

test.serial('a service that listens already is found, and its end seen', async (t) => {
  const web = stage.node.service('web')
  const doorman = await Doorman.start(web, 'web')
  const key = await doorman.open('::', 7102)
  await doorman.open('127.0.0.1', 7103)
  t.is(await answererOf(other, stage.node.ip, 7102), 'web')
  const number = await enrolHost(stage, web)
  t.is((await ask(other, stage.node.ip, 7102)).workload, number)
  const ports = ['web 0.0.0.0 7102', 'web :: 7102', 'web 127.0.0.1 7103']
  t.deepEqual(await portsOf(stage), ports)
  t.is(await stage.driver.call('portOwner', { ip: stage.node.ip, port: 7102 }), number)
  t.is(await stage.driver.call('portOwner', { ip: stage.node.ip, port: 7103 }), null)
  // Withdrawn and enrolled again, while it listens.
  await withdraw('web')
  t.is(await mapSize('weft_host_ports'), 0)
  t.is(await answererOf(other, stage.node.ip, 7102), 'web')
  await enrolHost(stage, web)
  t.deepEqual(await portsOf(stage), ports)
  await doorman.close(key)
  // Before 6.10 the kernel does not tell: the ports stay the workload's, and nobody else's.
  if (TELLS_OF_ENDS) await waitForPorts(stage, ['web 127.0.0.1 7103'])
  else t.is(await stage.driver.call('portOwner', { ip: stage.node.ip, port: 7102 }), number)
  await end(doorman.program)
  if (TELLS_OF_ENDS) await waitForPorts(stage, [])
  await withdraw('web')
  t.is(await mapSize('weft_host_ports'), 0)
})

test.serial('connections older than the enrolment are ended, nobody else’s', async (t) => {
  const web = stage.node.service('web')
  const echo = await web.run(server('echo', 7104), { waitFor: 'listening' })
  const far = await other.run(server('echo', 7105), { waitFor: 'listening' })
  const inbound = await other.run(hold(stage.node.ip, 7104, 3), { waitFor: 'held 3' })
  const outbound = await web.run(hold(other.ip, 7105, 2), { waitFor: 'held 2' })
  const bystander = await stage.node.run(hold(other.ip, 7105, 2), { waitFor: 'held 2' })
  await enrolHost(stage, web)
  t.is(await stage.driver.call('endInherited', 'web'), 5)
  for (const program of [inbound, outbound]) {
    program.write('ping\n')
    await program.waitFor('"ok":0')
  }
  bystander.write('ping\n')
  await bystander.waitFor('"ok":2')
  t.is(await stage.driver.call('endInherited', 'web'), 0)
  await withdraw('web')
  await end(echo, far, inbound, outbound, bystander)
})

test.serial('a port that the configuration names is its own without a listener', async (t) => {
  const web = stage.node.service('web')
  // As with socket activation, the listener is of another cgroup.
  const activator = await Doorman.start(stage.node, 'activated')
  await activator.open('::', 7106)
  const number = await enrolHost(stage, web, { ports: [7106, 7107] })
  t.deepEqual(await portsOf(stage), [
    'web 0.0.0.0 7106?',
    'web :: 7106?',
    'web 0.0.0.0 7107?',
    'web :: 7107?',
  ])
  const answer = await ask(other, stage.node.ip, 7106)
  t.deepEqual([answer.class, answer.workload], ['plaintext', number])
  t.is(await answererOf(web, stage.node.ip, 7106), 'activated')
  const delivered = { uid: 'web', address: stage.node.ip, port: 7106, mark: 0x111 }
  t.is(JSON.parse(await stage.driver.call<string>('deliver', delivered)).name, 'activated')
  // Named no more.
  await enrolHost(stage, web, { ports: [7107] })
  t.is(await answererOf(other, stage.node.ip, 7106), 'activated')
  t.is(await mapSize('weft_host_ports'), 2)
  await withdraw('web')
  t.is(await mapSize('weft_host_ports'), 0)
  await end(activator.program)
})

test.serial('services of one node call each other through the agent', async (t) => {
  const [one, two] = [stage.node.service('one'), stage.node.service('two')]
  const first = await enrolHost(stage, one)
  const second = await enrolHost(stage, two)
  t.not(first, second)
  const doorman = await Doorman.start(two, 'two')
  await doorman.open('::', 7120)
  await doorman.open('127.0.0.1', 7121)
  const { v4, v6 } = stage.node.addresses
  for (const [address, port, options] of [
    [v4, 7120, {}],
    [v6, 7120, {}],
    ['127.0.0.1', 7120, {}],
    ['::1', 7120, {}],
    ['127.0.0.1', 7121, {}],
    ['127.0.0.1', 7121, { bind: '127.0.0.1' }],
    [v4, 7120, { bind: v4 }],
  ] as const) {
    const answer = await ask(one, address, port, options)
    const text = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
    t.deepEqual([answer.class, answer.name, answer.workload], ['outbound', text, first])
    t.is(await answererOf(two, address, port), 'two')
  }
  const inbound = await ask(stage.node, '127.0.0.1', 7121)
  t.deepEqual([inbound.class, inbound.workload], ['plaintext', second])
  // Many at once; nothing is mixed up.
  const own = { host: '127.0.0.1', port: 7120, name: 'two' }
  const asked = { host: v4, port: 7120, name: `${v4}:7120` }
  const [mine, through] = await Promise.all([
    two.run(connectMany([own], 400, 8)),
    one.run(connectMany([asked], 400, 8)),
  ])
  for (const many of [mine, through]) {
    await many.finish()
    t.is(many.report<ManyReport>().ok, 400, JSON.stringify(many.report<ManyReport>()))
  }
  t.is(await mapSize('weft_attest'), 0)
  t.is(await mapSize('weft_origins'), 0)
  await end(doorman.program)
  await withdraw('one', 'two')
})

test.serial('the exact address counts before every address', async (t) => {
  const [one, two] = [stage.node.service('one'), stage.node.service('two')]
  const first = await enrolHost(stage, one)
  const second = await enrolHost(stage, two)
  const [wide, exact] = [await Doorman.start(one, 'one'), await Doorman.start(two, 'two')]
  await wide.open('0.0.0.0', 7130, 'reuseport')
  await exact.open(stage.node.ip, 7130, 'reuseport')
  t.is((await ask(other, stage.node.ip, 7130)).workload, second)
  t.is((await ask(stage.node, '127.0.0.1', 7130)).workload, first)
  t.is(await stage.driver.call('portOwner', { ip: stage.node.ip, port: 7130 }), second)
  t.is(await stage.driver.call('portOwner', { ip: '127.0.0.1', port: 7130 }), first)
  await end(wide.program, exact.program)
  await withdraw('one', 'two')
})

test.serial('a port of another workload is not taken over, now or later', async (t) => {
  const [one, two] = [stage.node.service('one'), stage.node.service('two')]
  const first = await enrolHost(stage, one)
  await enrolHost(stage, two, { ports: [7132] })
  const [owner, taker] = [await Doorman.start(one, 'one'), await Doorman.start(two, 'two')]
  const key = await owner.open('0.0.0.0', 7131, 'reuseport')
  const before = await count('ports_taken')
  await taker.open('0.0.0.0', 7131, 'reuseport')
  t.is(await count('ports_taken'), before + 1)
  t.is((await ask(other, stage.node.ip, 7131)).workload, first)
  await owner.close(key)
  await waitForPorts(stage, ['two 0.0.0.0 7132?', 'two :: 7132?'])
  // It listens there, but nobody would judge who comes: nobody comes.
  const unadmitted = await count('unadmitted')
  t.is(await answererOf(other, stage.node.ip, 7131), 'ETIMEDOUT')
  t.true((await count('unadmitted')) > unadmitted)
  await owner.open('127.0.0.1', 7132)
  t.is(await count('ports_taken'), before + 2, 'nor is one that the configuration names')
  await end(owner.program, taker.program)
  await withdraw('one', 'two')
})

test.serial('deliveries reach it, what is not marked does not', async (t) => {
  const web = stage.node.service('web')
  const number = await enrolHost(stage, web)
  const doorman = await Doorman.start(web, 'web')
  await doorman.open('::', 7140)
  for (const address of [stage.node.ip, '127.0.0.1', stage.node.addresses.v6, '::1']) {
    const delivery = { uid: 'web', address, port: 7140 }
    const marked = await stage.driver.call<string>('deliver', { ...delivery, mark: 0x111 })
    t.is(JSON.parse(marked).name, 'web', address)
    const plain = await stage.driver.call<string>('deliver', delivery)
    t.deepEqual([JSON.parse(plain).class, JSON.parse(plain).workload], ['plaintext', number])
  }
  t.is(await mapSize('weft_attest'), 0)
  t.is((await ask(other, stage.node.ip, 15008)).class, 'hbone')
  await end(doorman.program)
  await withdraw('web')
})

test.serial('SYN cookies change nothing', async (t) => {
  const web = stage.node.service('web')
  const { ip } = stage.node
  await enrolHost(stage, web)
  const doorman = await Doorman.start(web, 'web')
  await doorman.open('::', 7141)
  await stage.node.setSysctls({ 'net.ipv4.tcp_syncookies': 2 })
  const outside = { host: OUTSIDE, port: 80, name: `${OUTSIDE}:80` }
  for (const many of [
    await web.run(connectMany([outside], 300, 8)),
    await web.run(connectMany([{ host: ip, port: 7141, name: 'web' }], 300, 8)),
    await other.run(connectMany([{ host: ip, port: 7141, name: `${ip}:7141` }], 300, 8)),
  ]) {
    await many.finish()
    t.is(many.report<ManyReport>().ok, 300, JSON.stringify(many.report<ManyReport>()))
  }
  await stage.node.setSysctls({ 'net.ipv4.tcp_syncookies': 1 })
  t.is(await mapSize('weft_attest'), 0)
  await end(doorman.program)
  await withdraw('web')
})

test.serial('capture ports are ordinary ports to everybody else', async (t) => {
  const web = stage.node.service('web')
  await enrolHost(stage, web)
  t.is(await answererOf(other, stage.node.ip, 15101), 'ECONNREFUSED')
  const served = await stage.node.run(server('identity', 15102, { name: 'theirs' }), {
    waitFor: 'listening',
  })
  t.is(await answererOf(other, stage.node.ip, 15102), 'theirs')
  t.is(await answererOf(stage.node, stage.node.ip, 15102), 'theirs')
  const outside = { host: OUTSIDE, port: 80, name: `${OUTSIDE}:80` }
  const many = await web.run(connectMany([outside], 200, 8))
  await many.finish()
  t.is(many.report<ManyReport>().ok, 200, 'captured on that port all the same')
  await end(served)
  await withdraw('web')
})

test.serial('in another network namespace its cgroup means nothing', async (t) => {
  const web = stage.node.service('web')
  await enrolHost(stage, web)
  const inside = (argv: readonly string[]) => other.exec(argv, { cgroup: web.cgroup, check: false })
  t.is(await answererOf({ exec: inside }, stage.node.ip, SSH), 'ssh')
  const far = await other.run(server('identity', 7150, { name: 'far' }), {
    waitFor: 'listening',
    cgroup: web.cgroup,
  })
  t.deepEqual(await portsOf(stage), [])
  t.is(await answererOf(stage.node, other.ip, 7150), 'far')
  await end(far)
  await withdraw('web')
})

test.serial('a worker that dies is replaced on the node as well', async (t) => {
  const web = stage.node.service('web')
  await enrolHost(stage, web)
  t.is(await stage.driver.call('node'), 24)
  for (const worker of [0, 1, 2, 3]) await stage.driver.call('silence', worker)
  t.is(await answererOf(web, OUTSIDE, 80), 'ECONNREFUSED')
  for (const worker of [0, 1, 2, 3]) await stage.driver.call('revive', worker)
  t.is(await stage.driver.call('node'), 24)
  t.is(await answererOf(web, OUTSIDE, 80), 'outbound')
  await withdraw('web')
  await waitUntil(async () => (await mapSize('weft_listeners')) === 0, 'no listeners')
})
