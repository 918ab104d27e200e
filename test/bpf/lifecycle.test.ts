import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import type { LoggedEntry } from '../../src/base/log.ts'
import { nativeKernel } from '../../src/kernel/native.ts'
import { kernelHas } from '../lab/kernel.ts'
import type { Pod } from '../lab/pod.ts'
import { client, PYTHON, server } from '../lab/programs.ts'
import { execSync } from '../lab/shell.ts'
import { waitUntil } from '../lab/wait.ts'
import { Stage } from './stage.ts'

const OBJECTS = fileURLToPath(new URL('../../bpf/out/', import.meta.url))
const DRIVER = fileURLToPath(new URL('driver.ts', import.meta.url))

/** Verified instructions of each program on Linux 6.18. The limit is
 * a million; a jump here is a mistake, and a slow load of every pod's guard. */
const CEILINGS: Readonly<Record<string, number>> = {
  weft_admit: 4_000,
  weft_connect4: 16_000,
  weft_connect6: 45_000,
  weft_sendmsg4: 9_000,
  weft_sendmsg6: 20_000,
  weft_recvmsg4: 500,
  weft_recvmsg6: 500,
  weft_getpeername4: 500,
  weft_getpeername6: 500,
  weft_track_workload: 25_000,
  weft_track_agent: 1_500,
  weft_origdst: 300,
  weft_lookup: 30_000,
  weft_lookup_host: 30_000,
  weft_guard_pod: 8_000,
  weft_guard_host: 1_500,
  weft_list: 600,
  weft_tag_tcp: 1_500,
  weft_tag_host: 15_000,
  weft_release_host: 8_000,
  weft_tag_udp: 400,
  weft_doom: 300,
  weft_doom_inherited: 300,
  weft_end: 300,
  weft_end_inherited: 300,
}

/** Of 6.1 and others without bpf_sock_destroy: their verifier walks further. */
const OLDER_FACTOR = 4

let stage: Stage

test.before(async () => {
  stage = await Stage.open()
  await stage.begin()
})

test.after.always(() => stage?.close())

async function log(event: string): Promise<LoggedEntry[]> {
  const entries = await stage.driver.call<LoggedEntry[]>('log')
  return entries.filter((entry) => entry.event === event)
}

function podPins(): number {
  const directory = join(stage.paths.pins, 'pods')
  return existsSync(directory) ? readdirSync(directory).length : 0
}

/** Everything an enrolled pod leaves in its namespace and on the node. */
async function traces(pod: Pod): Promise<Record<string, unknown>> {
  const inside = async (argv: string[]) =>
    (await stage.node.exec(['nsenter', `--net=/run/netns/${pod.netns}`, ...argv])).stdout.trim()
  return {
    rules4: await inside(['ip', 'rule', 'show', 'fwmark', '0x111']),
    rules6: await inside(['ip', '-6', 'rule', 'show', 'fwmark', '0x111']),
    routes4: await inside(['sh', '-c', 'ip route show table 100 2>&1 | grep ^local || true']),
    routes6: await inside(['sh', '-c', 'ip -6 route show table 100 2>&1 | grep ^local || true']),
    accept: await inside(['cat', '/proc/sys/net/ipv4/tcp_fwmark_accept']),
    listeners: await inside(['sh', '-c', 'ss -Htln | wc -l']),
    pins: podPins(),
    pods: await stage.driver.call('mapSize', 'weft_pods'),
    sockets: await stage.driver.call('mapSize', 'weft_listeners'),
  }
}

test.serial('the forms in use are those that the kernel has', async (t) => {
  t.deepEqual(await stage.driver.call('forms'), {
    guard: kernelHas('tcx_link_attach') ? 'tcx' : 'clsact',
    end: kernelHas('bpf_sock_destroy') ? 'sock_destroy' : 'inet_diag',
  })
})

test.serial('every program stays below its ceiling of verified instructions', (t) => {
  const kernel = nativeKernel()
  const found: Record<string, number> = {}
  const without = kernelHas('bpf_sock_destroy') ? ['abi.o'] : ['abi.o', 'end.o']
  for (const name of readdirSync(OBJECTS).filter((file) => !without.includes(file))) {
    const object = kernel.loadObject({ bytes: readFileSync(join(OBJECTS, name)), name })
    for (const program of object.programs.values()) {
      found[program.name] = program.verifiedInstructions
    }
    object.close()
  }
  t.log(found)
  const expected = Object.keys(CEILINGS).filter(
    (name) => !(without.includes('end.o') && name.startsWith('weft_end')),
  )
  t.deepEqual(Object.keys(found).sort(), expected.sort())
  for (const [name, instructions] of Object.entries(found)) {
    const ceiling = (CEILINGS[name] ?? 0) * (without.includes('end.o') ? OLDER_FACTOR : 1)
    t.true(instructions > 0 && instructions <= ceiling, `${name}: ${instructions}`)
  }
})

test.serial('a withdrawn pod leaves nothing behind', async (t) => {
  const pod = await stage.node.pod('gone')
  const before = await traces(pod)
  await stage.driver.enrol(pod)
  const during = await traces(pod)
  t.is(during.listeners, '24', 'three classes, four workers, two families')
  t.is(during.accept, '1')
  t.not(during.rules4, '')
  t.not(during.rules6, '')
  t.not(during.routes6, '')
  await stage.driver.call('withdraw', 'gone')
  t.deepEqual(await traces(pod), before)
  await pod.exec(client('connect', '198.51.100.1', 80), { check: false })
  await stage.driver.enrol(pod)
  t.deepEqual(await traces(pod), during)
  await stage.driver.call('withdraw', 'gone')
})

test.serial('an enrolment that fails leaves nothing behind', async (t) => {
  const pod = await stage.node.pod('failing')
  const before = await traces(pod)
  const enrol = (addresses: readonly string[], netns = pod.netns) =>
    stage.driver.call('enrol', { uid: 'failing', netns, addresses })
  await t.throwsAsync(enrol(['10.0.0.1', '10.0.0.2']), { message: /one per family/ })
  await t.throwsAsync(enrol(['10.0.0.256']), { message: /not an IP address/ })
  await t.throwsAsync(enrol(['10.0.0.1'], stage.node.netns), { message: /other end of eth0/ })
  // Older kernels rename only what is down.
  await stage.node.exec(['ip', '-n', pod.netns, 'link', 'set', 'eth0', 'down'])
  await stage.node.exec(['ip', '-n', pod.netns, 'link', 'set', 'eth0', 'name', 'eth9'])
  await t.throwsAsync(enrol(pod.addresses), { message: /eth0/ })
  await stage.node.exec(['ip', '-n', pod.netns, 'link', 'add', 'eth0', 'type', 'bridge'])
  await t.throwsAsync(enrol(pod.addresses), { message: /veth/ })
  t.deepEqual(await traces(pod), before)
})

test.serial('two workloads cannot share a namespace or an address', async (t) => {
  const first = await stage.pod('first')
  const second = await stage.node.pod('second')
  const enrol = (netns: string, addresses: readonly string[]) =>
    stage.driver.call('enrol', { uid: 'second', netns, addresses })
  await t.throwsAsync(enrol(first.netns, second.addresses), { message: /namespace of first/ })
  await t.throwsAsync(enrol(second.netns, first.addresses), { message: /address .* of first/ })
  await t.notThrowsAsync(enrol(second.netns, second.addresses))
  for (const uid of ['first', 'second']) await stage.driver.call('withdraw', uid)
})

test.serial('a pod whose namespace is gone is withdrawn without a complaint', async (t) => {
  const pod = await stage.pod('deleted')
  await pod.remove()
  await stage.driver.call('withdraw', 'deleted')
  t.is(podPins(), 0)
  t.is(await stage.driver.call('mapSize', 'weft_listeners'), 0)
  t.deepEqual(await log('datapath.withdraw-step'), [])
})

test.serial('listening ports are discovered, and forgotten with their last listener', async (t) => {
  const pod = await stage.pod('listening')
  const ports = () => stage.driver.call<number[]>('listening', 'listening')
  const one = await pod.run(server('echo', 7001), { waitFor: 'listening' })
  const shared = await pod.run(
    [
      PYTHON,
      '-uc',
      `import socket,sys
def listener():
    s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("0.0.0.0", 7002)); s.listen(); return s
first,second=listener(),listener()
print("two", flush=True); sys.stdin.readline()
first.close(); print("one", flush=True); sys.stdin.readline()`,
    ],
    { waitFor: 'two' },
  )
  t.deepEqual(await ports(), [7001, 7002])
  one.kill('SIGKILL')
  await waitUntil(async () => (await ports()).length === 1, 'the end of 7001')
  shared.write('\n')
  await shared.waitFor('one')
  t.deepEqual(await ports(), [7002])
  shared.kill('SIGKILL')
  await waitUntil(async () => (await ports()).length === 0, 'the end of 7002')
  await stage.driver.call('withdraw', 'listening')
})

test.serial(
  'a restart collects pods that went meanwhile, and keeps the rest captured',
  async (t) => {
    const gone = await stage.pod('going')
    const kept = await stage.pod('kept')
    await stage.replaceDriver()
    await gone.remove()
    await stage.begin()
    await waitUntil(async () => (await log('datapath.collected')).length === 1, 'the collection')
    t.is(podPins(), 1)
    const { stdout } = await kept.exec(client('connect', '198.51.100.1', 80), { check: false })
    t.is(JSON.parse(stdout).error, 'ECONNREFUSED')
    await stage.driver.enrol(kept)
    t.true(JSON.parse((await kept.exec(client('banner', '198.51.100.1', 80))).stdout).ok)
  },
)

test.serial('numbers of workloads survive the loss of their file', async (t) => {
  const file = join(stage.paths.stateDirectory, 'workload-ids.json')
  const numbers = () => JSON.parse(readFileSync(file, 'utf8')).ids as Record<string, number>
  const before = numbers()
  const highest = Math.max(...Object.values(before))
  await stage.replaceDriver()
  writeFileSync(file, '{"bootId":')
  await stage.begin()
  t.is((await log('datapath.ids-unreadable')).length, 1)
  await stage.pod('new')
  t.true((numbers().new ?? 0) > highest, 'no number is given twice')
})

test.serial('pins of another layout are replaced with one line of explanation', async (t) => {
  await stage.replaceDriver()
  const kernel = nativeKernel()
  const path = join(stage.paths.pins, 'maps', 'weft_config')
  const config = kernel.openPinnedMap(path)
  const other = Buffer.alloc(config.valueSize)
  other.writeUInt32LE(999_999)
  config.update(Buffer.alloc(4), other)
  config.close()
  await stage.begin()
  t.is((await log('datapath.pins-replaced')).length, 1)
  t.is(await stage.driver.call('mapSize', 'weft_pods'), 0)
  await stage.replaceDriver()
  execSync(['rm', path])
  kernel
    .createMap({ name: 'weft_config', type: 'array', keySize: 4, valueSize: 8, maxEntries: 1 })
    .pin(path)
  await stage.begin()
  t.is((await log('datapath.pins-replaced')).length, 1)
  const pod = await stage.pod('after')
  t.true(JSON.parse((await pod.exec(client('banner', '198.51.100.1', 80))).stdout).ok)
})

test.serial('an agent outside its cgroup refuses to start', async (t) => {
  const other = await stage.node.run([process.execPath, DRIVER, JSON.stringify(stage.paths)], {
    waitFor: 'driver ready',
    env: { NODE_NO_WARNINGS: '1' },
  })
  other.write('{"id":1,"call":"start"}\n')
  t.regex(await other.waitFor(/reply .*\n/), /must run in .* or below/)
  other.kill()
})

test.serial('after a removal nothing stays', async (t) => {
  await stage.driver.call('stop', 'remove')
  t.false(existsSync(stage.paths.pins))
  const attached = execSync(['bpftool', 'cgroup', 'show', stage.paths.workloadsCgroup])
  t.notRegex(attached.stdout, /weft_/)
  stage.driver.program.kill()
  await stage.driver.program.exited
})
