// What programs of a pod try with names: none of it reaches beyond the pod, is answered for another,
// goes round a policy, or keeps others from finding their names.
import { readFileSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import { authorizationPolicy, meshConfig, type Resource, service } from '../lab/mesh-config.ts'
import type { Node } from '../lab/node.ts'
import type { Pod } from '../lab/pod.ts'
import * as programs from '../lab/programs.ts'
import { call, Mesh } from '../mesh/mesh.ts'
import { OUTSIDE } from './attack.ts'
import { odd, oddly } from './odd.ts'

const TRUTH = '192.0.2.7'
const LIE = '192.0.2.66'
/** Says whatever is asked for, and is not DNS. */
const OUTSIDE_TCP = '198.51.100.53'

let mesh: Mesh
let evil: Pod
let good: Pod
/** A resolver that `evil` may not ask. */
let shy: Pod
/** On the node itself. */
let upstream: string

interface Told {
  readonly error?: string
  readonly code: number
  readonly ips: readonly string[]
}

async function ask(from: Pick<Pod, 'exec'>, resolver: string, name: string): Promise<Told> {
  const argv = programs.names('ask', resolver, `${name}/A`)
  const { stdout } = await from.exec(argv, { timeoutMs: 20_000 })
  return JSON.parse(stdout)[`${name}/A`] as Told
}

function dnsmasq(ip: string, ...args: string[]): string[] {
  const alone = ['--keep-in-foreground', '--no-resolv', '--no-hosts', '--conf-file=/dev/null']
  const place = ['--bind-interfaces', `--listen-address=${ip}`, '--pid-file=', '--user=root']
  return ['dnsmasq', ...alone, ...place, '--log-facility=-', '--local=/test/', ...args]
}

/** As many endpoints as make every answer long. */
function crowd(): Resource[] {
  const endpoints = Array.from({ length: 900 }, (_, at) => ({
    addresses: [`10.77.${at >> 8}.${at & 255}`],
  }))
  const ports = [{ name: 'tcp', port: 80 }]
  return [
    service('crowd', { selector: {}, clusterIPs: ['None'], ports }),
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: 'crowd-1',
        namespace: 'default',
        labels: { 'kubernetes.io/service-name': 'crowd' },
      },
      addressType: 'IPv4',
      ports,
      endpoints,
    },
  ]
}

test.before(async () => {
  mesh = await Mesh.open()
  const { one, two, lab } = mesh
  upstream = one.ip
  evil = await mesh.pod(one, 'evil')
  good = await mesh.pod(one, 'good')
  shy = await mesh.pod(one, 'shy')
  lab.config.write('mesh.yaml', [meshConfig({ drainTimeoutMs: '100ms' })])
  lab.config.write('services.yaml', [
    service('shy', {
      selector: { app: 'shy' },
      clusterIPs: ['10.96.9.53'],
      ports: [{ name: 'dns', port: 53 }],
    }),
    authorizationPolicy('shy', 'default', {
      selector: { matchLabels: { app: 'shy' } },
      action: 'DENY',
      rules: [{ from: [{ source: { principals: ['cluster.local/ns/default/sa/evil'] } }] }],
    }),
    ...crowd(),
  ])
  await mesh.start()
  await two.exec(['ip', 'addr', 'add', `${OUTSIDE_TCP}/32`, 'dev', 'lo'])
  await one.exec(['ip', 'route', 'add', OUTSIDE_TCP, 'via', two.ip])
  const started = { waitFor: /started/ }
  await Promise.all([
    one.run(dnsmasq(upstream, `--address=/foreign.test/${TRUTH}`), started),
    two.run(dnsmasq(OUTSIDE_TCP, `--address=/foreign.test/${TRUTH}`), started),
    shy.run(dnsmasq(shy.v4 ?? '', `--address=/foreign.test/${TRUTH}`), started),
  ])
})

test.after.always(() => mesh?.close())

/** What the agent's processes have in memory. */
function memoryMb(): number {
  const status = readFileSync(`/proc/${mesh.agents[0].pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
}

test('sockets of every kind hear from the resolver they asked', async (t) => {
  for (const resolver of [upstream, '127.0.0.53']) {
    const { seen } = await oddly<{ seen: Record<string, unknown> }>(
      evil,
      'dns-ways',
      resolver,
      'shy.default',
    )
    t.is(Object.keys(seen).length, 8)
    for (const [way, source] of Object.entries(seen)) t.deepEqual(source, [resolver, 53, true], way)
  }
})

test('the agent asks no resolver for those whom a policy keeps from it', async (t) => {
  for (const resolver of [shy.ip, '10.96.9.53']) {
    t.deepEqual((await ask(good, resolver, 'foreign.test')).ips, [TRUTH])
    const told = await ask(evil, resolver, 'foreign.test')
    t.is(told.code, 2, 'SERVFAIL')
    t.deepEqual(told.ips, [])
    const dig = ['dig', `@${resolver}`, '+tcp', '+short', '+tries=1', '+time=2', 'foreign.test']
    const { stdout } = await evil.exec(dig, { check: false })
    t.notRegex(stdout, /192\.0\.2/)
  }
  t.deepEqual((await ask(evil, upstream, 'foreign.test')).ips, [TRUTH], 'others it may ask')
})

test('what a resolver in a pod says is told to that pod alone', async (t) => {
  // Whoever rules the namespace may have any address there.
  await evil.exec(['ip', 'addr', 'add', `${upstream}/32`, 'dev', 'lo'], OUTSIDE)
  const lies = dnsmasq(upstream, `--address=/once.foreign.test/${LIE}`)
  const liar = await evil.run(lies, { waitFor: /started/ })
  t.deepEqual((await ask(evil, upstream, 'once.foreign.test')).ips, [LIE])
  t.deepEqual((await ask(good, upstream, 'once.foreign.test')).ips, [TRUTH])
  await liar.stop()
  await evil.exec(['ip', 'addr', 'del', `${upstream}/32`, 'dev', 'lo'], OUTSIDE)
  for (const name of ['a', 'b', 'c', 'd']) {
    const told = await ask(evil, upstream, `${name}.foreign.test`)
    t.deepEqual(told.ips, [TRUTH], 'the way to the real one is found again')
  }
})

test('the sockets that answer a pod answer nobody else', async (t) => {
  const { stdout } = await good.exec(['ss', '-lunH4'])
  const ports = [...stdout.matchAll(/10\.244\.\d+\.\d+:(\d+)/g)].map(([, port]) => port ?? '')
  t.true(ports.length > 0)
  const answering = async (from: Pod | Node) =>
    (await oddly<{ answering: number[] }>(from, 'dns-at', good.ip, 'shy.default', ...ports))
      .answering
  t.is((await answering(good)).length, ports.length, 'they do answer')
  t.deepEqual(await answering(evil), [])
  t.deepEqual(await answering(mesh.one), [])
})

test('under registry-only nothing leaves by TCP port 53, and names are asked for', async (t) => {
  const dig = ['dig', `@${OUTSIDE_TCP}`, '+tcp', '+short', '+tries=1', '+time=2', 'foreign.test']
  const byTcp = async () => (await evil.exec(dig, { check: false })).stdout.trim()
  t.is(await byTcp(), TRUTH)
  await mesh.apply('mesh.yaml', [
    meshConfig({ drainTimeoutMs: '100ms', outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } }),
  ])
  t.not(await byTcp(), TRUTH)
  const entries = await mesh.waitForEntries(
    ({ reason, destination }) => reason === 'outbound-refused' && destination.port === 53,
    1,
    'the refusal',
  )
  t.is(entries[0]?.destination.ip, OUTSIDE_TCP)
  t.false((await call(evil, programs.client('banner', OUTSIDE_TCP, 80))).ok)
  t.deepEqual((await ask(evil, upstream, 'foreign.test')).ips, [TRUTH])
  await mesh.apply('mesh.yaml', [meshConfig({ drainTimeoutMs: '100ms' })])
})

/** Asks up to three times, as resolver libraries do: the resolver itself may lose a question. */
async function askAgain(from: Pod, resolver: string, name: string): Promise<Told> {
  let told = await ask(from, resolver, name)
  for (let n = 1; n < 3 && told.error !== undefined; n++) told = await ask(from, resolver, name)
  return told
}

/** Another pod goes on finding names of both kinds while the attack goes on. */
async function goesOn(t: ExecutionContext, since: number): Promise<void> {
  for (let n = 0; n < 3; n++) {
    t.deepEqual((await askAgain(good, upstream, `q${n}-${since}.foreign.test`)).ips, [TRUTH])
    t.deepEqual((await askAgain(good, upstream, 'shy.default')).ips, ['10.96.9.53'])
  }
}

test('who asks much by TCP and reads nothing costs little, and keeps nobody waiting', async (t) => {
  const before = memoryMb()
  const argv = odd('dns-pipeline', upstream, 20, 8_000_000, 'crowd')
  const asking = await evil.run(argv, { waitFor: /sent/ })
  await goesOn(t, 1)
  t.true(memoryMb() - before < 150, `from ${before} to ${memoryMb()} MB`)
  await asking.stop()
})

for (const [kind, names] of [
  ['names of nobody', Array.from({ length: 500 }, (_, at) => `n${at}.nobody.test`)],
  ['a name of many endpoints', ['crowd']],
] as const) {
  test(`a flood of questions for ${kind}, from thousands of ports, keeps nobody waiting`, async (t) => {
    const before = memoryMb()
    const flood = await evil.run(odd('dns-flood', upstream, 2, ...names), { waitFor: 'flooding' })
    await goesOn(t, names.length)
    t.true(memoryMb() - before < 150, `from ${before} to ${memoryMb()} MB`)
    await flood.stop()
  })
}

test('slow and half-open clients by TCP are let go', async (t) => {
  const open = ['import socket,time', 'kept=[]', 'for _ in range(300):']
  const lines = [
    ...open,
    ` s=socket.create_connection(("${upstream}",53)); s.send(b"\\xff"); kept.append(s)`,
    'print("open",flush=True); time.sleep(60)',
  ]
  const slow = await evil.run([programs.PYTHON, '-c', lines.join('\n')], { waitFor: 'open' })
  await goesOn(t, 3)
  await slow.stop()
})

test('a pod without a free port is refused, and no other', async (t) => {
  const squat = await evil.run(odd('squat-udp', 50_000, 50_003), { waitFor: 'squatting' })
  await mesh.agents[0].stop()
  await mesh.agents[0].start()
  await mesh.agents[0].waitEnrolled(good)
  t.deepEqual((await ask(good, upstream, 'foreign.test')).ips, [TRUTH])
  const refused = await evil.exec(programs.names('ask', upstream, 'foreign.test/A'), {
    check: false,
  })
  t.notRegex(refused.stdout, /192\.0\.2/)
  await squat.stop()
  await evil.exec(['sysctl', '-qw', 'net.ipv4.ip_local_port_range=32768 60999'], OUTSIDE)
  await mesh.agents[0].waitEnrolled(evil)
  t.deepEqual((await ask(evil, upstream, 'foreign.test')).ips, [TRUTH])
})
