// Questions of workloads that share the node's network, which are told apart by their cgroups.
import type { ExecutionContext } from 'ava'
import test from 'ava'
import type { HostService } from '../lab/host-service.ts'
import { client } from '../lab/programs.ts'
import { ask, type Heard } from './ask.ts'
import { Stage } from './stage.ts'

const RESOLVER = '192.0.2.1'
const WORKERS = [0, 1, 2, 3]

let stage: Stage
let web: HostService
let db: HostService
const numbers = new Map<HostService, number>()

/** A question of each kind of socket. */
const question = (host: string): string => `
u=udp("${host}"); sent(u, "u", "${host}"); c=udp("${host}"); c.connect(("${host}", 53)); c.send(b"c")
tell([got(u), got(c), list(c.getpeername()[:2])])`

async function isAnswered(t: ExecutionContext, who: HostService, host: string): Promise<void> {
  const [u, c, peer] = await ask<[Heard, Heard, unknown]>(who, question(host))
  const plain = host.replace('::ffff:', '')
  for (const heard of [u, c]) {
    t.deepEqual(heard.from, [host, 53])
    t.is(heard.asked, plain.includes(':') ? `[${plain}]:53` : `${plain}:53`)
    t.is(heard.workload, numbers.get(who) ?? 0)
  }
  t.deepEqual(peer, [host, 53])
}

test.before(async () => {
  stage = await Stage.open()
  await stage.begin()
  const { v4, v6 } = stage.node.addresses
  for (const name of ['web', 'db']) {
    const service = stage.node.service(name)
    const { number } = await stage.driver.call<{ number: number }>('enrolHost', {
      uid: name,
      cgroup: service.cgroup,
      addresses: [v4, v6],
      ports: [],
    })
    numbers.set(service, number)
    if (name === 'web') web = service
    else db = service
  }
})

test.after.always(() => stage?.close())

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain())
})

test.serial('each asks for itself, whatever the resolver', async (t) => {
  const { v4, v6 } = stage.node.addresses
  for (const who of [web, db]) {
    for (const host of [
      RESOLVER,
      `::ffff:${RESOLVER}`,
      '2001:db8::1',
      '127.0.0.53',
      '::1',
      v4,
      v6,
    ]) {
      await isAnswered(t, who, host)
    }
  }
})

test.serial('with an address that is not the node’s it asks all the same', async (t) => {
  const lost = stage.node.service('lost')
  const { number } = await stage.driver.call<{ number: number }>('enrolHost', {
    uid: 'lost',
    cgroup: lost.cgroup,
    addresses: ['10.99.0.1', 'fd99::1'],
    ports: [],
  })
  numbers.set(lost, number)
  for (const host of [RESOLVER, '2001:db8::1']) await isAnswered(t, lost, host)
  const { v4, v6 } = stage.node.addresses
  const moved = { uid: 'lost', cgroup: lost.cgroup, addresses: [v4, v6], ports: [] }
  t.is((await stage.driver.call<{ number: number }>('enrolHost', moved)).number, number)
  for (const host of [RESOLVER, '2001:db8::1', v4]) await isAnswered(t, lost, host)
  await stage.driver.call('withdrawHost', 'lost')
})

test.serial('over TCP too', async (t) => {
  for (const who of [web, db]) {
    for (const host of [RESOLVER, '127.0.0.53', stage.node.ip]) {
      const { stdout } = await who.exec(client('banner', host, 53), { check: false })
      const answer = JSON.parse(JSON.parse(stdout).banner)
      t.is(answer.name, `${host}:53`)
      t.is(answer.workload, numbers.get(who))
    }
  }
})

test.serial('what is not enrolled on the node asks whom it likes', async (t) => {
  const lines = `
r=udp(); r.bind(("127.0.0.77", 53)); c=udp(); c.connect(("127.0.0.77", 53)); c.send(b"real")
tell(r.recv(100).decode())`
  const before = await stage.driver.counters()
  t.is(await ask(stage.node, lines), 'real')
  t.deepEqual(await stage.driver.counters(), before)
})

test.serial('other datagrams of theirs pass', async (t) => {
  const lines = `
r=udp(); r.bind(("127.0.0.1", 0)); c=udp(); c.connect(r.getsockname()); c.send(b"x"); data,peer=r.recvfrom(9)
r.sendto(b"y", peer); tell([data.decode(), c.recv(9).decode()])`
  t.deepEqual(await ask(web, lines), ['x', 'y'])
})

test.serial('a worker that died is replaced; without one they are refused', async (t) => {
  const failures = (): Promise<string[]> =>
    ask(
      web,
      `
u=udp(); c=udp()
tell([failing(lambda: sent(u, "q", "127.0.0.53")), failing(lambda: c.connect(("${RESOLVER}", 53)))])`,
    )
  for (const worker of WORKERS) await stage.driver.call('silence', worker)
  t.deepEqual(await failures(), ['ECONNREFUSED', 'ECONNREFUSED'])
  for (const worker of WORKERS) await stage.driver.call('revive', worker)
  await isAnswered(t, web, RESOLVER)
})

test.serial('one that is withdrawn asks whom it likes; the other is captured on', async (t) => {
  await stage.driver.call('withdrawHost', 'db')
  const lines = `
r=udp(); r.bind(("127.0.0.78", 53)); c=udp(); c.connect(("127.0.0.78", 53)); c.send(b"real")
tell(r.recv(100).decode())`
  t.is(await ask(db, lines), 'real')
  await isAnswered(t, web, '127.0.0.53')
})
