import test from 'ava'
import type { AccessEntry } from '../../src/model/access-entry.ts'
import type { WantedMaps, WantedVerdict } from '../../src/model/wanted-maps.ts'
import type { Pod } from '../lab/pod.ts'
import { PYTHON } from '../lab/programs.ts'
import { waitUntil } from '../lab/wait.ts'
import { ask } from './ask.ts'
import { SETTINGS, Stage } from './stage.ts'

const PORT = 7000
const SERVICE = { v4: '10.96.0.10', v6: 'fd96::10', port: 900 }

let stage: Stage
let a: Pod
let b: Pod
let c: Pod
/** Never enrolled. */
let outside: Pod

type Address = readonly [ip: string, port: number]

interface Echoed {
  /** Who answered. */
  readonly name: string
  /** Who asked, as the server sees it. */
  readonly client: Address
  readonly from: Address
}

/** Answers each datagram with its own name and whom it heard. */
const echo = (name: string): string[] => [
  PYTHON,
  '-uc',
  `
import json,socket
s=socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.setsockopt(41, 26, 0); s.bind(("::", ${PORT}))
print("listening")
while True:
    data,peer=s.recvfrom(4096)
    client=[peer[0].removeprefix("::ffff:"), peer[1]]
    s.sendto(json.dumps({"name": "${name}", "client": client}).encode(), peer)`,
]

function rules(
  version: number,
  decision: WantedVerdict['verdict'],
  pods: readonly Pod[],
): WantedMaps {
  const service = (ip: string, port: number, wanted: readonly Pod[]) => ({
    ip,
    port,
    protocol: 'udp' as const,
    backends: wanted.map((pod) => ({
      ip: (ip.includes(':') ? pod.v6 : pod.v4) ?? '',
      port: PORT,
      workload: pod.name,
    })),
  })
  return {
    version,
    services: [
      service(SERVICE.v4, SERVICE.port, pods),
      service(SERVICE.v6, SERVICE.port, pods),
      ...pods.flatMap((pod) => pod.addresses.map((ip) => service(ip, PORT, [pod]))),
    ],
    verdicts: pods.map(({ name: destination }) => ({
      source: 'a',
      destination,
      port: PORT,
      verdict: decision,
    })),
  }
}

async function counted(name: string, task: () => Promise<unknown>): Promise<number> {
  const before = (await stage.driver.counters())[name] ?? 0
  await task()
  return ((await stage.driver.counters())[name] ?? 0) - before
}

/** One datagram of an unconnected socket, and two of a connected one. */
const talk = (host: string, port: number): string => `
u=udp("${host}"); sent(u, "x", "${host}", ${port}); one=got(u)
k=udp("${host}"); k.connect(("${host}", ${port})); k.send(b"x"); two=got(k); k.send(b"x")
three=got(k)
tell([[one, two, three], list(k.getpeername()[:2]), [u.getsockname()[1], k.getsockname()[1]]])`

type Talk = [answers: Echoed[], peer: Address, ports: number[]]

test.before(async () => {
  stage = await Stage.open()
  await stage.begin()
  a = await stage.pod('a')
  b = await stage.pod('b')
  c = await stage.pod('c')
  outside = await stage.node.pod('outside')
  for (const pod of [b, c]) await pod.run(echo(pod.name), { waitFor: 'listening' })
  await outside.run(echo('outside'), { waitFor: 'listening', outsideCgroup: true })
})

test.after.always(() => stage?.close())

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain())
})

test.serial('a service is reached at an endpoint of this node, and nobody notices', async (t) => {
  await stage.driver.call('generation', rules(1, 'allow', [b]))
  const mapped = `::ffff:${SERVICE.v4}`
  const targets = [
    [SERVICE.v4, SERVICE.port],
    [SERVICE.v6, SERVICE.port],
    [mapped, SERVICE.port],
    ...b.addresses.map((ip) => [ip, PORT] as const),
  ] as const
  for (const [host, port] of targets) {
    const own = host.includes(':') && host !== mapped ? a.v6 : a.v4
    let heard: Talk | undefined
    const direct = await counted('udp_direct', async () => {
      heard = await ask<Talk>(a, talk(host, port))
    })
    const [answers = [], peer, ports = []] = heard ?? []
    t.is(direct, 2, 'one datagram and one connect')
    t.deepEqual(peer, [host, port])
    for (const [at, answer] of answers.entries()) {
      t.is(answer.name, 'b')
      t.deepEqual(answer.from, [host, port])
      t.deepEqual(answer.client as unknown, [own, ports[at === 0 ? 0 : 1]])
    }
  }
})

test.serial('a socket stays with its endpoint, and sockets are spread over all', async (t) => {
  await stage.driver.call('generation', rules(2, 'allow', [b, c]))
  const lines = `
out=[]
for at in range(100):
    s=udp(); names=[]
    for _ in range(3): sent(s, "x", "${SERVICE.v4}", ${SERVICE.port}); names.append(got(s)["name"])
    out.append(names)
tell(out)`
  const names = await ask<string[][]>(a, lines)
  t.true(names.every((one) => new Set(one).size === 1))
  const share = names.filter(([first]) => first === 'b').length
  t.true(share > 20 && share < 80, `${share} of 100`)
})

test.serial('an endpoint that is no more a service’s is left at once', async (t) => {
  await stage.driver.call('generation', rules(3, 'allow', [b]))
  const program = await a.run([
    PYTHON,
    '-uc',
    `
import socket,sys
s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3)
while sys.stdin.readline():
    s.sendto(b"x", ("${SERVICE.v4}", ${SERVICE.port})); print(s.recv(4096).decode(), flush=True)`,
  ])
  program.write('go\n')
  await program.waitFor('"b"')
  await stage.driver.call('generation', rules(4, 'allow', [c]))
  program.write('go\n')
  await program.waitFor('"c"')
  program.kill()
  t.pass()
})

test.serial('what is denied is refused, counted, and told once for a socket', async (t) => {
  await stage.driver.call('entries')
  await stage.driver.call('generation', rules(5, 'deny', [b]))
  const lines = (host: string, port: number): string => `
u=udp("${host}"); k=udp("${host}")
tell([failing(lambda: sent(u, "x", "${host}", ${port})) for _ in range(3)]
     + [failing(lambda: k.connect(("${host}", ${port})))])`
  for (const [host, port] of [
    [SERVICE.v4, SERVICE.port],
    [b.v6 ?? '', PORT],
  ] as const) {
    const refused = await counted('refused:policy-denied', async () => {
      t.deepEqual(await ask(a, lines(host, port)), Array(4).fill('ECONNREFUSED'))
    })
    t.is(refused, 4)
    const found: AccessEntry[] = []
    await waitUntil(async () => {
      found.push(...(await stage.driver.call<AccessEntry[]>('entries')))
      return found.length >= 2
    }, 'two entries')
    t.deepEqual(
      found.map(({ reason, source, destination, version }) => [
        reason,
        source.workload,
        destination.workload,
        destination.ip,
        version,
      ]),
      Array(2).fill(['policy-denied', 'a', 'b', host, 5]),
    )
  }
  await stage.driver.call('generation', rules(6, 'allow', [b]))
  t.is((await ask<Talk>(a, talk(SERVICE.v4, SERVICE.port)))[0][0]?.name, 'b')
})

test.serial('other datagrams pass, are counted, and leave through the guard', async (t) => {
  const undecided = rules(7, 'agent', [b])
  for (const wanted of [undecided, { ...undecided, services: [] }]) {
    await stage.driver.call('generation', wanted)
    for (const [host, name] of [
      ...outside.addresses.map((ip) => [ip, 'outside'] as const),
      ...b.addresses.map((ip) => [ip, 'b'] as const),
    ]) {
      let heard: Talk | undefined
      const passed = await counted('udp_passed', async () => {
        heard = await ask<Talk>(a, talk(host, PORT))
      })
      // Each answer of b is a datagram that passes, too.
      t.is(passed, name === 'b' ? 5 : 2)
      for (const answer of heard?.[0] ?? []) {
        t.is(answer.name, name)
        t.deepEqual(answer.from, [host, PORT])
      }
    }
  }
  t.is((await stage.driver.counters()).guard_dropped ?? 0, 0)
})

test.serial('without the direct path every datagram passes', async (t) => {
  await stage.driver.call('generation', rules(8, 'deny', [b]))
  await stage.driver.call('configure', { ...SETTINGS, directPath: false })
  t.is((await ask<Talk>(a, talk(b.ip, PORT)))[0][0]?.name, 'b')
  await stage.driver.call('configure', SETTINGS)
})

test.serial('an endpoint that is not enrolled here is not reached directly', async (t) => {
  await stage.driver.call('generation', rules(9, 'allow', [outside]))
  const direct = await counted('udp_direct', async () => {
    t.is((await ask<Talk>(a, talk(outside.ip, PORT)))[0][0]?.name, 'outside')
  })
  t.is(direct, 0)
})

test.serial('one socket asks resolvers, a service and others, and knows each answer', async (t) => {
  await stage.driver.call('generation', rules(10, 'allow', [b]))
  const service: Address = [SERVICE.v4, SERVICE.port]
  const other: Address = [outside.v4 ?? '', PORT]
  const targets: readonly Address[] = [
    ['192.0.2.1', 53],
    service,
    other,
    ['192.0.2.2', 53],
    service,
  ]
  const lines = `
s=udp(); out=[]
for host,port in ${JSON.stringify(targets)}: sent(s, "x", host, port); out.append(got(s)["from"])
k=udp(); k.connect(("${SERVICE.v4}", ${SERVICE.port}))
sent(k, "x", "192.0.2.1"); sent(k, "x", "${outside.v4}", ${PORT})
k.send(b"x"); out.append(got(k)["from"]); out.append(list(k.getpeername()))
tell(out)`
  t.deepEqual(await ask(a, lines), [...targets, service, service])
  t.is((await stage.driver.counters()).guard_dropped ?? 0, 0)
})
