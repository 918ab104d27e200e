import test from 'ava'
import type { Pod } from '../lab/pod.ts'
import { client, PYTHON } from '../lab/programs.ts'
import { ask, type Heard } from './ask.ts'
import { Stage } from './stage.ts'

const RESOLVER = '192.0.2.1'
const RESOLVER6 = '2001:db8::1'
const WORKERS = [0, 1, 2, 3]

let stage: Stage
let a: Pod
let b: Pod

async function counted(name: string, task: () => Promise<unknown>): Promise<number> {
  const before = (await stage.driver.counters())[name] ?? 0
  await task()
  return ((await stage.driver.counters())[name] ?? 0) - before
}

/** The names of the errors of a connected and of an unconnected question. */
const failures = (host: string): Promise<string[]> =>
  ask(
    a,
    `
s=udp("${host}"); c=udp("${host}")
tell([failing(lambda: sent(s, "q", "${host}")), failing(lambda: c.connect(("${host}", 53)))])`,
  )

/** Who answers a connection: what the driver was told of it, and what the program sees. */
async function overTcp(host: string, bind?: string): Promise<readonly [string, unknown]> {
  const options = bind === undefined ? {} : { bind }
  const { stdout } = await a.exec(client('banner', host, 53, options), { check: false })
  const report = JSON.parse(stdout) as { banner?: string; error?: string; peer?: unknown[] }
  const name = report.banner === undefined ? report.error : JSON.parse(report.banner).name
  return [name ?? '', report.peer?.slice(0, 2)]
}

test.before(async () => {
  stage = await Stage.open()
  await stage.begin()
  a = await stage.pod('a')
  b = await stage.pod('b')
})

test.after.always(() => stage?.close())

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain())
})

test.serial('over TCP a resolver is never reached but through the agent', async (t) => {
  await stage.driver.call('generation', {
    version: 1,
    services: [
      {
        ip: RESOLVER,
        port: 53,
        protocol: 'tcp',
        backends: [{ ip: b.ip, port: 7053, workload: 'b' }],
      },
    ],
    verdicts: [{ source: 'a', destination: 'b', port: 7053, verdict: 'allow' }],
  })
  const own = a.v4 ?? ''
  const hosts = [
    RESOLVER,
    RESOLVER6,
    `::ffff:${RESOLVER}`,
    '127.0.0.53',
    '::1',
    own,
    '169.254.20.10',
  ]
  for (const host of hosts) {
    const plain = host.replace('::ffff:', '')
    const name = plain.includes(':') ? `[${plain}]:53` : `${plain}:53`
    t.deepEqual(await overTcp(host), [name, [host, 53]])
  }
  t.deepEqual(await overTcp('127.0.0.53', '127.0.0.1'), ['127.0.0.53:53', ['127.0.0.53', 53]])
  await stage.driver.call('generation', { version: 2, services: [], verdicts: [] })
})

test.serial('multicast and link-local IPv6 are nobody’s resolvers', async (t) => {
  const captured = await counted('dns_captured', async () => {
    const lines = `
s=udp("::1"); tell(failing(lambda: s.sendto(b"q", ("fe80::1", 53, 0, socket.if_nametoindex("eth0")))))`
    t.is(await ask<string>(a, lines), 'nothing')
    const group = `
s=udp(); s.setsockopt(0, 32, socket.inet_aton("${a.v4}")); tell(failing(lambda: sent(s, "q", "224.0.0.9")))`
    t.is(await ask<string>(a, group), 'nothing')
  })
  t.is(captured, 0)
})

test.serial('every worker gets its share, and a socket stays with one', async (t) => {
  const lines = `
out=[]
for _ in range(200):
    s=udp(); sent(s, "1", "${RESOLVER}"); sent(s, "2", "${RESOLVER}"); out.append([got(s)["worker"], got(s)["worker"]])
tell(out)`
  const pairs = await ask<[number, number][]>(a, lines)
  t.true(pairs.every(([first, second]) => first === second))
  for (const worker of WORKERS) {
    const share = pairs.filter(([first]) => first === worker).length
    t.true(share > 20, `worker ${worker}: ${share} of 200`)
  }
})

test.serial('questions leave a silenced worker at once, and return to its successor', async (t) => {
  const program = await a.run([
    PYTHON,
    '-uc',
    `
import json,socket,sys
s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3)
while sys.stdin.readline():
    s.sendto(b"q", ("${RESOLVER}", 53)); data,source=s.recvfrom(4096)
    print(json.dumps(dict(json.loads(data), **{"from": list(source)})), flush=True)`,
  ])
  let said = 0
  const next = async (): Promise<Heard> => {
    program.write('ask\n')
    said++
    await program.waitFor(new RegExp(`^(.*\\n){${said}}`))
    return JSON.parse(program.stdout.split('\n')[said - 1] ?? '') as Heard
  }
  const first = await next()
  await stage.driver.call('silence', first.worker)
  const second = await next()
  t.not(second.worker, first.worker)
  await stage.driver.call('revive', first.worker)
  for (const worker of WORKERS.filter((one) => one !== first.worker)) {
    await stage.driver.call('silence', worker)
  }
  const third = await next()
  t.is(third.worker, first.worker)
  for (const heard of [first, second, third]) t.deepEqual(heard.from, [RESOLVER, 53])
  for (const worker of WORKERS.filter((one) => one !== first.worker)) {
    await stage.driver.call('revive', worker)
  }
  program.kill()
})

test.serial(
  'what is connected to a worker that was replaced is refused, and asks anew',
  async (t) => {
    const program = await a.run([
      PYTHON,
      '-uc',
      `
import errno,json,socket,sys
def connect():
    s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3); s.connect(("${RESOLVER}", 53))
    return s
s=connect()
while sys.stdin.readline():
    try: s.send(b"q"); print(json.loads(s.recv(4096))["worker"], flush=True)
    except OSError as error: print(errno.errorcode[error.errno], flush=True); s=connect()`,
    ])
    program.write('ask\n')
    const worker = Number(await program.waitFor(/^\d/))
    await stage.driver.call('silence', worker)
    await stage.driver.call('revive', worker)
    program.write('ask\nask\n')
    t.regex(await program.waitFor(/ECONNREFUSED\n\d/), /ECONNREFUSED/)
    program.kill()
  },
)

test.serial('without a live socket a question is refused at once, and counted', async (t) => {
  for (const worker of WORKERS) await stage.driver.call('silence', worker)
  for (const host of [RESOLVER, RESOLVER6, '127.0.0.53']) {
    const refused = await counted('dns_no_worker', async () => {
      t.deepEqual(await failures(host), ['ECONNREFUSED', 'ECONNREFUSED'], host)
    })
    t.is(refused, 2)
  }
  for (const worker of WORKERS) await stage.driver.call('revive', worker)
  const lines = `s=udp(); sent(s, "q", "${RESOLVER}"); tell(got(s))`
  t.deepEqual((await ask<Heard>(a, lines)).from, [RESOLVER, 53])
})

test.serial(
  'without a free port a socket cannot connect to a resolver, and that is counted',
  async (t) => {
    const lines = `
import os
def hold(first, last, ready):
    held=[]
    for port in range(first, last):
        s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try: s.bind(("0.0.0.0", port)); held.append(s)
        except OSError: s.close()
    os.write(ready, b"1"); os.read(wait, 1); os._exit(0)
wait,go=os.pipe(); done,ready=os.pipe()
for first in range(32768, 61000, 800):
    if os.fork()==0: os.close(go); hold(first, min(first+800, 61000), ready)
    os.read(done, 1)
c=udp(); bound=udp(); bound.bind(("0.0.0.0", 4712)); bound.connect(("${RESOLVER}", 53)); bound.send(b"q")
tell([failing(lambda: c.connect(("${RESOLVER}", 53))), got(bound)["from"]])`
    const refused = await counted('dns_no_port', async () => {
      t.deepEqual(await ask(a, lines), ['ECONNREFUSED', [RESOLVER, 53]])
    })
    t.is(refused, 1)
  },
)

test.serial('datagrams of others to a socket for questions are not answered', async (t) => {
  const { stdout } = await a.exec([
    'sh',
    '-c',
    `nsenter --net=/run/netns/${a.netns} ss -Hulnp | grep -o '${a.v4}:[0-9]*'`,
  ])
  const ports = stdout
    .trim()
    .split('\n')
    .map((line) => Number(line.split(':')[1]))
  t.true(ports.length >= 12, 'three resolvers, four workers')
  const ignored = await stage.driver.call<number>('ignoredQuestions')
  const flood = `
import socket
s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.3)
for port in ${JSON.stringify(ports)}: s.sendto(b"q", ("${a.v4}", port))
try: print(s.recvfrom(100))
except OSError as error: print(type(error).__name__)`
  const before = await stage.node.exec([PYTHON, '-c', flood])
  t.regex(before.stdout, /TimeoutError|timeout/)
  t.is((await stage.driver.call<number>('ignoredQuestions')) - ignored, 12)
  // Nor those of the pod itself that asked nobody.
  t.regex((await a.exec([PYTHON, '-c', flood])).stdout, /TimeoutError|timeout/)
})

test.serial('with dns off questions pass, and leave through the guard', async (t) => {
  await stage.driver.call('configure', {
    unknown: 'refuse',
    directPath: true,
    dns: false,
    workers: 4,
  })
  const gateway = stage.node.addresses.gateway4
  const server = await stage.node.run(
    [
      PYTHON,
      '-uc',
      `
import socket
s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("${gateway}", 53)); print("up")
while True:
    data,source=s.recvfrom(100); s.sendto(b'{"real": true}', source)`,
    ],
    { waitFor: 'up' },
  )
  const passed = await counted('udp_passed', async () => {
    const lines = `
s=udp(); sent(s, "q", "${gateway}"); c=udp(); c.connect(("${gateway}", 53)); c.send(b"q"); tell([got(s), got(c)])`
    const answers = await ask<unknown[]>(a, lines)
    const real = { real: true, from: [gateway, 53] }
    t.deepEqual(answers, [real, real])
  })
  t.is(passed, 2)
  t.is((await overTcp('127.0.0.1'))[0], 'ECONNREFUSED', 'nobody listens there')
  await stage.driver.call('configure', {
    unknown: 'refuse',
    directPath: true,
    dns: true,
    workers: 4,
  })
  await server.stop()
})

test.serial('a dead agent answers nobody: refused, never asked elsewhere', async (t) => {
  const holder = await a.run(
    [
      PYTHON,
      '-uc',
      `
import errno,socket,sys
s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3)
s.connect(("${RESOLVER}", 53)); s.send(b"q"); s.recv(4096); print("connected")
sys.stdin.readline()
try:
    s.send(b"q"); s.recv(100)
except OSError as error: print("then", errno.errorcode[error.errno])`,
    ],
    { waitFor: 'connected' },
  )
  stage.driver.program.kill()
  await stage.driver.program.exited
  t.deepEqual(await failures(RESOLVER), ['ECONNREFUSED', 'ECONNREFUSED'])
  holder.write('go\n')
  await holder.waitFor('then ECONNREFUSED')
  await stage.replaceDriver()
  await stage.begin()
  await stage.driver.enrol(a)
  const lines = `s=udp(); sent(s, "q", "${RESOLVER}"); tell(got(s))`
  t.deepEqual((await ask<Heard>(a, lines)).from, [RESOLVER, 53])
})
