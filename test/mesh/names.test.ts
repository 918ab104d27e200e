// Names as programs ask for them, through the kernel and the agent: the mesh's own from the tables,
// every other as before, whatever is wrong with the resolvers.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { HostService } from '../lab/host-service.ts'
import { hostResource, type Resource, service } from '../lab/mesh-config.ts'
import type { Node } from '../lab/node.ts'
import type { Pod } from '../lab/pod.ts'
import * as programs from '../lab/programs.ts'
import { Mesh, principal, serve } from './mesh.ts'

const IDENTITY = 7001
/** Of node two, where nobody listens at port 53, and of a resolver that says nothing. */
const REFUSING = '10.200.0.2'
const SILENT = '10.200.0.77'
const CD = 'cluster.local'
const FOREIGN = ['192.0.2.7', '2001:db8::7']

let mesh: Mesh
let caller: Pod
let four: Pod
let web: Pod
let dns: Pod
/** Shares node one's network. */
let host: HostService
/** On node one, beside no workload. */
let upstream: string

type Asker = Pick<Pod, 'name' | 'exec'>

interface Told {
  readonly code: number
  readonly cut: boolean
  readonly own: boolean
  readonly ips: readonly string[]
  readonly right: boolean
}

async function report<T>(from: Asker, argv: readonly string[]): Promise<T> {
  const { stdout } = await from.exec(argv, { timeoutMs: 20_000 })
  return JSON.parse(stdout) as T
}

async function ask(from: Asker, resolver: string, ...names: string[]): Promise<Told[]> {
  const told = await report<Record<string, Told>>(from, programs.names('ask', resolver, ...names))
  return names.map((name) => told[name] as Told)
}

const dig = async (from: Asker, ...args: string[]): Promise<string[]> => {
  const { stdout } = await from.exec(['dig', '+tries=1', '+time=3', ...args], { timeoutMs: 20_000 })
  return stdout.split('\n').filter((line) => line !== '')
}

/** Runs a program under a resolv.conf of its own. */
async function under(from: Asker, lines: readonly string[], argv: readonly string[]) {
  const file = join(mesh.lab.directory, `resolv-${from.name}.conf`)
  writeFileSync(file, `${lines.join('\n')}\n`)
  const mounted = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
  const started = performance.now()
  const { stdout, code } = await from.exec(
    ['unshare', '--mount', 'sh', '-c', mounted, 'sh', file, ...argv],
    { check: false, timeoutMs: 20_000 },
  )
  return { stdout, code, seconds: (performance.now() - started) / 1000 }
}

/** Addresses that glibc finds, without repeats. */
async function getent(from: Asker, lines: readonly string[], name: string) {
  const { stdout, code, seconds } = await under(from, lines, ['getent', 'ahosts', name])
  const ips = stdout.split('\n').flatMap((line) => line.split(/\s+/)[0] || [])
  return { ips: [...new Set(ips)].sort(), code, seconds }
}

function dnsmasq(...args: string[]): string[] {
  const quiet = ['--keep-in-foreground', '--no-resolv', '--no-hosts', '--conf-file=/dev/null']
  const names = ['--address=/foreign.test/192.0.2.7', '--address=/foreign.test/2001:db8::7']
  const large = Array.from(
    { length: 8 },
    (_, at) => `--txt-record=large.test,${`${at}`.repeat(120)}`,
  )
  const place = [
    '--bind-interfaces',
    '--pid-file=',
    '--user=root',
    '--log-facility=-',
    '--log-queries',
  ]
  return ['dnsmasq', ...quiet, ...place, '--local=/test/', ...names, ...large, ...args]
}

/** Starts one, once it answers. */
async function startResolver(on: Pod | Node, ip: string): Promise<void> {
  await on.run(dnsmasq(`--listen-address=${ip}`), { waitFor: /started/ })
}

const entry = (name: string, hosts: string[], spec: object): Resource => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'ServiceEntry',
  metadata: { name, namespace: 'default' },
  spec: { hosts, ports: [{ number: 80, name: 'tcp', protocol: 'TCP' }], ...spec },
})

const unaddressed = (name: string, namespace: string, selector: Record<string, string>) =>
  service(name, {
    namespace,
    selector,
    clusterIPs: [],
    ports: [{ name: 'identity', port: 80, targetPort: IDENTITY }],
  })

/** As many endpoints as fit no datagram. */
function crowd(): Resource[] {
  const addresses = Array.from({ length: 40 }, (_, at) => `10.77.0.${at + 1}`)
  return [
    service('crowd', { selector: {}, clusterIPs: ['None'], ports: [{ name: 'tcp', port: 80 }] }),
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: 'crowd-1',
        namespace: 'default',
        labels: { 'kubernetes.io/service-name': 'crowd' },
      },
      addressType: 'IPv4',
      ports: [{ name: 'tcp', port: 80 }],
      endpoints: addresses.map((address) => ({ addresses: [address] })),
    },
  ]
}

test.before(async () => {
  mesh = await Mesh.open()
  const { one, two, lab } = mesh
  upstream = one.ip
  caller = await mesh.pod(one, 'caller')
  four = await mesh.pod(one, 'four', { v6: false })
  web = await mesh.pod(two, 'web')
  const db = await mesh.pod(two, 'db-0', { labels: { app: 'db' } })
  dns = await mesh.pod(two, 'dns')
  host = one.service('host')
  await two.exec(['ip', 'addr', 'add', `${SILENT}/32`, 'dev', 'lo'])
  await one.exec(['ip', 'route', 'add', SILENT, 'via', two.ip])
  lab.config.write('services.yaml', [
    hostResource(host),
    unaddressed('web', 'default', { app: 'web' }),
    unaddressed('far', 'other', { app: 'nobody' }),
    service('db', {
      selector: { app: 'db' },
      clusterIPs: ['None'],
      ports: [{ name: 'tcp', port: 5432 }],
    }),
    service('dns', {
      selector: { app: 'dns' },
      clusterIPs: ['10.96.7.53'],
      ports: [{ name: 'dns-tcp', port: 53 }],
    }),
    entry('mail', ['mail.example.com'], {
      resolution: 'STATIC',
      endpoints: [{ address: db.ip }],
      location: 'MESH_INTERNAL',
    }),
    entry('star', ['*.wild.example'], { addresses: ['10.96.7.1'], resolution: 'NONE' }),
    ...crowd(),
  ])
  await mesh.start()
  await mesh.agents[0].waitEnrolled(host)
  await Promise.all([
    serve(web, programs.server('identity', IDENTITY, { name: 'web' })),
    startResolver(one, upstream),
    startResolver(dns, dns.v4 ?? ''),
    startResolver(caller, '127.0.0.53'),
    two.run(programs.names('silent', SILENT), { waitFor: programs.LISTENING }),
  ])
})

test.after.always(() => mesh?.close())

const V4 = /^240\.240\.\d+\.\d+$/
const V6 = /^2001:2::[0-9a-f]+$/

test('every form of a name is answered, from where it was asked for, at once', async (t) => {
  const names = ['web', 'web.default', 'web.default.svc', `web.default.svc.${CD}`]
  const four = await ask(caller, upstream, ...names.map((name) => `${name}/A`))
  const six = await ask(caller, upstream, ...names.map((name) => `${name}/AAAA`))
  for (const told of [...four, ...six]) {
    t.like(told, { code: 0, right: true, own: true, cut: false })
  }
  t.is(new Set(four.flatMap(({ ips }) => ips)).size, 1)
  t.is(new Set(six.flatMap(({ ips }) => ips)).size, 1)
  t.regex(four[0]?.ips[0] ?? '', V4)
  t.regex(six[0]?.ips[0] ?? '', V6)
})

test('services of other namespaces, hosts of ServiceEntries, endpoints of headless services', async (t) => {
  const [far, short, mail, star, db, one, text] = await ask(
    caller,
    upstream,
    ...['far.other/A', 'far/A', 'mail.example.com/A', 'a.b.wild.example/A', 'db/A'],
    ...[`db-0.db.default.svc.${CD}/AAAA`, 'web/TXT'],
  )
  t.regex(far?.ips[0] ?? '', V4)
  t.is(short?.own, false)
  t.regex(mail?.ips[0] ?? '', V4)
  t.deepEqual(star?.ips, ['10.96.7.1'])
  const [pod] = mesh.two.pods.filter(({ name }) => name === 'db-0')
  t.deepEqual(db?.ips, [pod?.v4 ?? ''])
  t.deepEqual(one?.ips, [pod?.v6 ?? ''])
  t.like(text, { code: 0, own: true, ips: [] })
})

test('a workload without IPv6 is not told of any', async (t) => {
  const [a, aaaa] = await ask(four, upstream, 'web/A', 'web/AAAA')
  t.is(a?.ips.length, 1)
  t.like(aaaa, { code: 0, own: true, ips: [] })
})

test('glibc finds names by search domains, and calls them', async (t) => {
  const domains = `search default.svc.${CD} svc.${CD} ${CD}`
  const lines = [domains, `nameserver ${upstream}`, 'options ndots:5']
  for (const name of ['web', 'web.default', 'mail.example.com', 'a.wild.example']) {
    const { ips, code, seconds } = await getent(four, lines, name)
    t.is(code, 0, name)
    t.is(ips.length, 1, name)
    t.true(seconds < 2, `${name} took ${seconds} s`)
  }
  t.deepEqual((await getent(four, lines, 'foreign.test')).ips, FOREIGN)
  t.is((await getent(four, lines, 'nobody.test')).code, 2)
  const called = await under(caller, lines, ['curl', '-sS', '--http0.9', 'http://web/'])
  t.true(
    called.stdout.includes('"name": "web"') || called.stdout.includes('"name":"web"'),
    called.stdout,
  )
})

test('an answer too long for a datagram comes by TCP, of the mesh and of others', async (t) => {
  const lines = await dig(four, `@${upstream}`, '+noedns', '+short', `crowd.default.svc.${CD}`)
  t.is(lines.filter((line) => line.startsWith('10.77.0.')).length, 40)
  const [cut] = await ask(four, upstream, 'crowd/A')
  t.like(cut, { cut: true, ips: [] })
  t.is((await dig(four, `@${upstream}`, '+short', 'crowd')).length, 40)
  const large = await dig(four, `@${upstream}`, '+noedns', '+short', 'large.test', 'TXT')
  t.is(large.filter((line) => line.startsWith('"')).length, 8)
})

test('over TCP: names of the mesh and others, on one connection', async (t) => {
  const lines = await dig(
    caller,
    `@${upstream}`,
    '+tcp',
    '+keepopen',
    '+short',
    'web',
    'foreign.test',
  )
  t.regex(lines[0] ?? '', V4)
  t.is(lines[1], '192.0.2.7')
})

test('what is not ours is answered as by the resolver itself', async (t) => {
  const names = ['foreign.test', 'nobody.test', 'large.test', 'TXT', 'a.foreign.test']
  // Options count for the names behind them.
  const asked = ['+nocmd', `@${upstream}`, '+ignore', '+noedns', '+nostats', ...names]
  const said = (lines: readonly string[]) =>
    lines
      .map((line) => line.replace(/id: \d+/, ''))
      .filter((line) => !/^;; (Got|global)/.test(line))
  const itself = await mesh.two.exec(['dig', ...asked])
  const lines = itself.stdout.split('\n').filter((line) => line !== '')
  t.true(lines.some((line) => line.includes('NXDOMAIN')) && lines.some((line) => / tc /.test(line)))
  t.deepEqual(said(await dig(caller, ...asked)), said(lines))
})

test('a resolver on loopback, and one behind a virtual address of the mesh', async (t) => {
  for (const resolver of ['127.0.0.53', '10.96.7.53']) {
    const [own, other] = await ask(caller, resolver, 'web/A', 'foreign.test/A')
    t.like(own, { right: true, own: true }, resolver)
    t.like(other, { right: true, ips: ['192.0.2.7'] }, resolver)
  }
  t.is((await dig(caller, '@10.96.7.53', '+tcp', '+short', 'foreign.test'))[0], '192.0.2.7')
  const [entry] = await mesh.waitForEntries(
    ({ direction, source, destination, path }) =>
      direction === 'outbound' &&
      source.workload === 'caller' &&
      destination.workload === 'dns' &&
      path === 'tunnel',
    1,
    'questions through a tunnel',
  )
  t.is(entry?.destination.identity, `spiffe://${principal(dns)}`)
})

test('a service on the node’s network asks as a pod does', async (t) => {
  const [own, other] = await ask(host, upstream, 'web/A', 'foreign.test/A')
  t.like(own, { right: true, own: true })
  t.regex(own?.ips[0] ?? '', V4)
  t.like(other, { right: true, ips: ['192.0.2.7'] })
  t.regex((await dig(host, `@${upstream}`, '+tcp', '+short', 'web'))[0] ?? '', V4)
  const many = programs.names('many', 16, [upstream, REFUSING].join(), 'web', 'mail.example.com')
  t.deepEqual(await report(host, many), { asked: 32, right: 32, wrong: 0 })
})

test('a dead resolver before a good one costs what it cost before, and names of the mesh nothing', async (t) => {
  const options = 'options timeout:1 attempts:1'
  const behind = (dead: string) => [`nameserver ${dead}`, `nameserver ${upstream}`, options]
  const refused = await getent(four, behind(REFUSING), 'foreign.test')
  t.deepEqual(refused.ips, FOREIGN)
  t.true(refused.seconds < 0.9, `${refused.seconds} s`)
  const silent = await getent(four, behind(SILENT), 'foreign.test')
  t.deepEqual(silent.ips, FOREIGN)
  t.true(silent.seconds >= 1 && silent.seconds < 4, `${silent.seconds} s`)
  for (const dead of [REFUSING, SILENT]) {
    const own = await getent(four, behind(dead), 'web.default')
    t.is(own.ips.length, 1)
    t.true(own.seconds < 0.9, `${own.seconds} s`)
  }
})

test('all resolvers at once, as musl asks, two of them dead', async (t) => {
  const resolvers = [REFUSING, SILENT, upstream].join()
  const { answers, seconds } = await report<{
    answers: Record<string, { A: Told; AAAA: Told }>
    seconds: number
  }>(caller, programs.names('all-at-once', resolvers, 'web', 'foreign.test', 'nobody.test'))
  t.regex(answers.web?.A.ips[0] ?? '', V4)
  t.regex(answers.web?.AAAA.ips[0] ?? '', V6)
  t.deepEqual(answers['foreign.test']?.A.ips, ['192.0.2.7'])
  t.deepEqual(answers['foreign.test']?.AAAA.ips, ['2001:db8::7'])
  t.is(answers['nobody.test']?.A.code, 3)
  t.true(seconds < 2, `${seconds} s`)
})

test('64 sockets of three resolvers each hear from the one they asked', async (t) => {
  const resolvers = [upstream, '127.0.0.53', '10.96.7.53'].join()
  const names = ['web', 'foreign.test', 'mail.example.com', 'a.foreign.test']
  const many = await report(caller, programs.names('many', 64, resolvers, ...names))
  t.deepEqual(many, { asked: 192, right: 192, wrong: 0 })
})

test.serial('1,000 questions a second', async (t) => {
  for (const names of [
    ['web', 'mail.example.com'],
    ['foreign.test', 'b.foreign.test'],
  ]) {
    const before = cpuSeconds(mesh.agents[0].pid)
    const told = await report<{ answered: number; seconds: number; p50Ms: number; p99Ms: number }>(
      caller,
      programs.names('flood', upstream, 1_500, 1_000, ...names),
    )
    const each = ((cpuSeconds(mesh.agents[0].pid) - before) / 1_500) * 1e6
    t.log(names.join(), told, `${each.toFixed(0)} us of the agent for each`)
    t.is(told.answered, 1_500)
  }
})

/** User and system, of all threads. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}

test.serial('what is no question hurts nobody', async (t) => {
  await report(caller, programs.names('garbage', upstream, 400))
  for (const from of [caller, four]) {
    const [told] = await ask(from, upstream, 'web/A')
    t.like(told, { code: 0, right: true })
  }
  t.false(mesh.agents[0].logLines().some(({ event }) => event === 'worker.died'))
})

test.serial('services come and go, and come back with their address, over a restart', async (t) => {
  const address = async () => {
    const [told] = await ask(caller, upstream, 'late.other/A')
    return told?.ips[0]
  }
  const resources = [unaddressed('late', 'other', { app: 'web' })]
  t.is(await address(), undefined)
  await mesh.apply('late.yaml', resources)
  const first = await address()
  t.regex(first ?? '', V4)
  await mesh.remove('late.yaml')
  t.is(await address(), undefined)
  await mesh.apply('late.yaml', resources)
  t.is(await address(), first)
  // Another than its name would give it: what an agent before this one told is what counts.
  const [agent] = mesh.agents
  await agent.stop()
  const file = join(agent.stateDirectory, 'service-addresses.json')
  const memory = JSON.parse(readFileSync(file, 'utf8')) as { places: [string, number][] }
  const places = memory.places.map(([key, place]) => [
    key,
    key.startsWith('other/late.') ? 4242 : place,
  ])
  writeFileSync(file, JSON.stringify({ ...memory, places }))
  await agent.start()
  await agent.waitEnrolled(caller)
  t.not(first, '240.240.16.146')
  t.is(await address(), '240.240.16.146')
})
