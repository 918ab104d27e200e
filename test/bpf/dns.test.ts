import type { ExecutionContext } from 'ava'
import test from 'ava'
import type { Pod } from '../lab/pod.ts'
import { ask, type Heard } from './ask.ts'
import { Stage } from './stage.ts'

const RESOLVERS = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'] as const
const RESOLVERS6 = ['2001:db8::1', '2001:db8::2', '2001:db8::3'] as const

let stage: Stage
let a: Pod
let number: number

async function counted(name: string, task: () => Promise<unknown>): Promise<number> {
  const before = (await stage.driver.counters())[name] ?? 0
  await task()
  return ((await stage.driver.counters())[name] ?? 0) - before
}

/** As the mesh names it: v4-mapped addresses as IPv4. */
function resolver(host: string): string {
  const plain = host.replace('::ffff:', '')
  return plain.includes(':') ? `[${plain}]:53` : `${plain}:53`
}

/** The answer is from whom the program asked, and the agent knows whom that was. */
function isFrom(t: ExecutionContext, heard: Heard | undefined, host: string, shown = host): void {
  t.deepEqual(heard?.from, [shown, 53])
  t.is(heard?.asked, resolver(shown))
  t.is(heard?.workload, number)
}

test.before(async () => {
  stage = await Stage.open()
  await stage.begin()
  a = await stage.node.pod('a')
  number = (await stage.driver.enrol(a)).number
})

test.after.always(() => stage?.close())

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain())
})

for (const host of [RESOLVERS[0], RESOLVERS6[0], `::ffff:${RESOLVERS[0]}`]) {
  test.serial(
    `a connected socket asks ${host} twice at once, and sees whom it asked`,
    async (t) => {
      const lines = `
s=udp("${host}"); s.connect(("${host}", 53))
sendmmsg(s, [b"A", b"AAAA"])
tell([[got(s), got(s)], list(s.getpeername()[:2]), list(s.getsockname()[:2])])`
      type Report = [Heard[], [string, number], [string, number]]
      let report: Report | undefined
      const captured = await counted('dns_captured', async () => {
        report = await ask<Report>(a, lines)
      })
      const [answers = [], peer, local] = report ?? []
      t.is(captured, 1, 'connected once')
      t.deepEqual(answers.map(({ question }) => question).sort(), ['A', 'AAAA'])
      for (const answer of answers) {
        isFrom(t, answer, host)
        t.true(answer.client.endsWith(`:${local?.[1]}`))
      }
      t.deepEqual(peer, [host, 53])
    },
  )

  test.serial(`an unconnected socket asks ${host}, and sees whom it asked`, async (t) => {
    const lines = `
s=udp("${host}"); sent(s, "one", "${host}"); sent(s, "two", "${host}"); tell([got(s), got(s)])`
    const answers = await ask<Heard[]>(a, lines)
    t.deepEqual(answers.map(({ question }) => question).sort(), ['one', 'two'])
    for (const answer of answers) isFrom(t, answer, host)
  })
}

for (const hosts of [RESOLVERS.slice(0, 3), RESOLVERS6]) {
  test.serial(`64 sockets ask each of ${hosts.join(', ')} and hear it`, async (t) => {
    const lines = `
hosts=${JSON.stringify(hosts)}; socks=[udp(hosts[0]) for _ in range(64)]; wrong=[]; right=0
for turn in range(3):
    for at,s in enumerate(socks):
        for host in hosts: sent(s, f"{at} {turn} {host}", host)
    for at,s in enumerate(socks):
        answers=[got(s) for _ in hosts]
        for answer in answers:
            n,_,asked=answer["question"].split(" ")
            told=answer["asked"].removesuffix(":53").strip("[]")
            if int(n)==at and asked==told==answer["from"][0] and answer["workload"]==${number}: right+=1
            else: wrong.append(answer)
tell([right, wrong])`
    t.deepEqual(await ask(a, lines), [64 * 3 * 3, []])
  })
}

test.serial('a fourth resolver takes the place of the first', async (t) => {
  const asks = [...RESOLVERS, RESOLVERS[2], RESOLVERS[0], RESOLVERS[3]]
  const answers = await ask<Heard[]>(
    a,
    `
s=udp(); out=[]
for host in ${JSON.stringify(asks)}:
    sent(s, host, host); out.append(got(s))
tell(out)`,
  )
  for (const [at, host] of asks.entries()) isFrom(t, answers[at], host)
  t.deepEqual(
    answers.map(({ slot }) => slot),
    [0, 1, 2, 0, 2, 1, 0],
  )
})

test.serial('a socket connects to one resolver after another', async (t) => {
  const asks = [RESOLVERS[0], RESOLVERS[1], RESOLVERS[0], RESOLVERS[3]]
  const answers = await ask<Heard[]>(
    a,
    `
s=udp(); out=[]
for host in ${JSON.stringify(asks)}:
    s.connect((host, 53)); s.send(host.encode()); out.append(got(s))
    assert s.getpeername()==(host, 53)
tell(out)`,
  )
  for (const [at, host] of asks.entries()) isFrom(t, answers[at], host)
})

test.serial('a socket that is bound keeps its port, also one on loopback', async (t) => {
  for (const [bind, host] of [
    ['0.0.0.0', RESOLVERS[0]],
    [a.v4, RESOLVERS[0]],
    ['127.0.0.1', '127.0.0.53'],
    ['::1', '::1'],
    ['::', RESOLVERS6[0]],
  ]) {
    for (const how of ['s.connect((host, 53)); s.send(b"q")', 'sent(s, "q", host)']) {
      const lines = `
host="${host}"; s=udp(host); s.bind(("${bind}", 4711)); ${how}
tell(got(s))`
      const heard = await ask<Heard>(a, lines)
      isFrom(t, heard, host ?? '')
      t.true(heard.client.endsWith(':4711'), heard.client)
    }
  }
})

test.serial('a port is bound at the address that was bound without one', async (t) => {
  const lines = `
s=udp(); s.setsockopt(0, 24, 1); s.bind(("127.0.0.1", 0)); s.connect(("127.0.0.53", 53))
s.send(b"q"); tell([got(s), s.getsockname()[0]])`
  const [heard, local] = await ask<[Heard, string]>(a, lines)
  isFrom(t, heard, '127.0.0.53')
  t.is(local, '127.0.0.1')
})

test.serial(
  'resolvers on loopback and on the own address are asked through the agent',
  async (t) => {
    const own = [a.v4 ?? '', a.v6 ?? '']
    const shown: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' }
    for (const host of [
      '127.0.0.53',
      '127.0.0.11',
      '::1',
      '169.254.20.10',
      ...own,
      '0.0.0.0',
      '::',
    ]) {
      const lines = `
host="${host}"; s=udp(host); sent(s, "q", host); c=udp(host); c.connect((host, 53)); c.send(b"q")
tell([got(s), got(c)])`
      for (const heard of await ask<Heard[]>(a, lines)) isFrom(t, heard, host, shown[host])
    }
  },
)

test.serial('an answer of another port or address is not mistaken for a resolver’s', async (t) => {
  const lines = `
s=udp(); s.bind(("${a.v4}", 0)); sent(s, "q", "${RESOLVERS[0]}"); first=got(s)
other=udp(); other.bind(("${a.v4}", 0)); other.sendto(b"{}", s.getsockname())
tell([first["from"], list(s.recvfrom(100)[1]), list(other.getsockname())])`
  const [first, second, other] = await ask<[unknown, unknown, unknown]>(a, lines)
  t.deepEqual(first, [RESOLVERS[0], 53])
  t.deepEqual(second, other)
})
