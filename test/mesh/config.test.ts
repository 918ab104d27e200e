// What an operator's mistakes do to a running agent: each is told with file, line, field and remedy,
// and nothing else changes; and what keeps an agent from starting at all.
import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { stringify } from 'yaml'
import { Probe } from '../adversary/probe.ts'
import type { Agent } from '../lab/agent.ts'
import { Lab } from '../lab/lab.ts'
import {
  authorizationPolicy,
  MeshConfig,
  meshConfig,
  namespace,
  podResource,
  type Resource,
  service,
} from '../lab/mesh-config.ts'
import type { Node } from '../lab/node.ts'
import type { Pod } from '../lab/pod.ts'
import { server } from '../lab/programs.ts'
import { serve } from './mesh.ts'

const OPEN = 7000
const DENIED = 7001
const WEFT = fileURLToPath(new URL('../../bin/weft.mjs', import.meta.url))

let lab: Lab
let node: Node
let agent: Agent
let caller: Pod
let callee: Pod
let probe: Probe

test.before(async () => {
  lab = await Lab.open()
  node = await lab.node('one')
  caller = await node.pod('caller')
  callee = await node.pod('callee')
  lab.config.write('mesh.yaml', [meshConfig({ directPath: 'off', drainTimeoutMs: '100ms' })])
  lab.config.write('pods.yaml', [podResource(caller), podResource(callee)])
  lab.config.write('policy.yaml', [POLICY])
  lab.config.write('service.yaml', [SERVICE])
  agent = await lab.agent(node)
  await agent.waitEnrolled(caller)
  await agent.waitEnrolled(callee)
  await serve(callee, server('echo', OPEN), server('echo', DENIED))
  probe = await Probe.start(caller)
})

test.after.always(() => lab?.close())

const POLICY = authorizationPolicy('standing', 'default', {
  selector: { matchLabels: { app: 'callee' } },
  action: 'DENY',
  rules: [{ to: [{ operation: { ports: [String(DENIED)] } }] }],
})
const SERVICE = service('callee', {
  selector: { app: 'callee' },
  clusterIPs: ['10.96.0.10'],
  ports: [{ name: 'open', port: 80, targetPort: OPEN }],
})

/** What the configuration at the start allows and denies. */
async function holds(t: ExecutionContext): Promise<void> {
  t.true((await probe.ask('10.96.0.10', 80)).ok, 'the service')
  t.true((await probe.ask(callee.ip, OPEN)).ok, 'the open port')
  t.false((await probe.ask(callee.ip, DENIED)).ok, 'the denied port')
}

const version = (): number =>
  Number(agent.logLines().findLast(({ event }) => event === 'config.applied')?.version)

const told = (event: string): string[] =>
  agent
    .logLines()
    .filter((line) => line.event === event)
    .map(({ issue }) => String(issue))

const path = (file: string): string => join(lab.config.directory, file)

async function check(directory = lab.config.directory) {
  return node.exec([process.execPath, WEFT, 'check', directory], { check: false })
}

type Files = Readonly<Record<string, string | readonly Resource[]>>

function write(files: Files): void {
  for (const [file, content] of Object.entries(files)) {
    if (typeof content === 'string') lab.config.writeText(file, content)
    else lab.config.write(file, content)
  }
}

interface Mistake {
  readonly name: string
  readonly files: () => Files
  /** `FILE:LINE:COLUMN: error: KIND NAME: FIELD: ...`, of each. */
  readonly says: readonly RegExp[]
}

const group = (name: string, of: string): Resource => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'WorkloadGroup',
  metadata: { name, namespace: 'default', annotations: { 'weft.dev/workload-group': of } },
  spec: { template: {} },
})

const entry = (name: string, spec: object, annotations = {}): Resource => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'WorkloadEntry',
  metadata: { name, namespace: 'default', annotations },
  spec,
})

const slice: Resource = {
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: {
    name: 'lost',
    namespace: 'default',
    labels: { 'kubernetes.io/service-name': 'nowhere' },
  },
  addressType: 'IPv4',
  endpoints: [],
  ports: [],
}

const MISTAKES: readonly Mistake[] = [
  {
    name: 'malformed YAML',
    files: () => ({ 'bad.yaml': 'apiVersion: v1\nkind: [Pod,\n' }),
    says: [/bad\.yaml:3:1: error: /],
  },
  {
    name: 'an unknown field of a policy',
    files: () => ({ 'bad.yaml': [authorizationPolicy('bad', 'default', { rulez: [] })] }),
    says: [/bad\.yaml:7:3: error: AuthorizationPolicy default\/bad: spec\.rulez: .*rules/],
  },
  {
    name: 'a name that is written twice',
    files: () => ({ 'bad.yaml': [POLICY] }),
    says: [
      /\.yaml:1:1: error: AuthorizationPolicy default\/standing: is also .*\.yaml:1; remove one/,
    ],
  },
  {
    name: 'a reference to itself by two others',
    files: () => ({ 'bad.yaml': [group('a', 'b'), group('b', 'a')] }),
    says: [/bad\.yaml:\d+:\d+: error: WorkloadGroup default\/a: .*a -> b -> a; break the cycle/],
  },
  {
    name: 'references to nothing',
    files: () => ({
      'bad.yaml': [
        slice,
        entry('lost', { address: '10.9.9.9' }, { 'weft.dev/workload-group': 'x' }),
      ],
    }),
    says: [
      /bad\.yaml:\d+:\d+: error: EndpointSlice default\/lost: .*Service default\/nowhere does not/,
      /bad\.yaml:\d+:\d+: error: WorkloadEntry default\/lost: .*WorkloadGroup default\/x does not/,
    ],
  },
  {
    name: 'an address of two workloads',
    files: () => ({ 'bad.yaml': [entry('thief', { address: callee.ip })] }),
    says: [
      /error: WorkloadEntry default\/thief: address 10\..* belongs to Pod default\/callee at /,
    ],
  },
  {
    name: 'a virtual address of two services',
    files: () => ({
      'bad.yaml': [{ ...SERVICE, metadata: { name: 'thief', namespace: 'default' } }],
    }),
    says: [/error: Service default\/thief: virtual address 10\.96\.0\.10 belongs to Service/],
  },
  {
    name: 'a file of 10 MB',
    files: () => ({ 'bad.yaml': `# ${'x'.repeat(10_000_000)}\n` }),
    says: [/bad\.yaml: error: is 9\.5 MiB large, more than the 4\.0 MiB .* split it/],
  },
  {
    name: 'a policy with fields of HTTP',
    files: () => ({
      'bad.yaml': [
        authorizationPolicy('bad', 'default', {
          rules: [{ to: [{ operation: { methods: ['GET'] } }] }],
        }),
      ],
    }),
    says: [
      /bad\.yaml:\d+:\d+: error: .*spec\.rules\[0\].*methods: L7 fields are not supported yet/,
    ],
  },
  {
    name: 'a good file that is broken',
    files: () => ({ 'policy.yaml': stringify({ ...POLICY, spec: { action: 'PERHAPS' } }) }),
    says: [/policy\.yaml:\d+:\d+: error: .*spec\.action: expected ALLOW or DENY; found "PERHAPS"/],
  },
  {
    name: 'a service that is broken',
    files: () => ({ 'service.yaml': [{ ...SERVICE, spec: { ports: [{ port: 'many' }] } }] }),
    says: [
      /service\.yaml:\d+:\d+: error: Service default\/callee: spec\.ports\[0\]\.port: expected /,
    ],
  },
]

let marks = 0

/** Mends everything, with a change that is put in force in any case. */
async function restored(before: number): Promise<void> {
  lab.config.remove('bad.yaml')
  lab.config.write('policy.yaml', [POLICY])
  lab.config.write('service.yaml', [SERVICE])
  lab.config.write('mark.yaml', [namespace(`mark-${marks++}`)])
  await lab.waitUntil(() => version() > before, 'what is mended to be in force')
}

for (const { name, files, says } of MISTAKES) {
  test(`${name} is told, and nothing changes`, async (t) => {
    const before = version()
    const issues = told('config.issue').length
    const mended = told('config.issue-mended').length
    write(files())
    await lab.waitUntil(() => {
      const news = told('config.issue').slice(issues)
      return says.every((wanted) => news.some((text) => wanted.test(text)))
    }, `${says} in ${agent.program.describe()}`)
    const [checked] = await Promise.all([check(), holds(t)])
    t.is(version(), before)
    t.is(checked.code, 1)
    for (const wanted of says) t.regex(checked.stdout, wanted)
    const news = told('config.issue').slice(issues)
    await restored(before)
    t.deepEqual(told('config.issue-mended').slice(mended).sort(), news.sort())
    await holds(t)
  })
}

test('an unknown field is warned of, and the rest is in force', async (t) => {
  const before = version()
  const extra = { ...(SERVICE.spec as object), fieldOfTomorrow: 1 }
  lab.config.write('service.yaml', [{ ...SERVICE, spec: extra }])
  const wanted = /service\.yaml:\d+:3: warning: Service default\/callee: spec\.fieldOfTomorrow: /
  await lab.waitUntil(() => told('config.issue').some((text) => wanted.test(text)), 'the warning')
  await lab.waitUntil(() => version() > before, 'it to be in force')
  await holds(t)
  const checked = await check()
  t.regex(checked.stdout, wanted)
  t.is(checked.code, 0)
  await restored(version())
})

test('a file that vanishes takes its resources along, and brings them back', async (t) => {
  const gone = version()
  lab.config.remove('policy.yaml')
  await lab.waitUntil(() => version() > gone, 'the removal to be in force')
  t.true((await probe.ask(callee.ip, DENIED)).ok, 'the policy is gone')
  const back = version()
  lab.config.write('policy.yaml', [POLICY])
  await lab.waitUntil(() => version() > back, 'the policy to be in force')
  await holds(t)
})

test('a directory that vanishes changes nothing, and is found again', async (t) => {
  const before = version()
  const { directory } = lab.config
  renameSync(directory, `${directory}.gone`)
  // Something must tell of it: the watch sees changes below the directory only.
  process.kill(agent.pid, 'SIGHUP')
  const wanted = /config: error: does not exist; create it or name another directory$/
  await lab.waitUntil(() => told('config.issue').some((text) => wanted.test(text)), 'the issue')
  await holds(t)
  t.is(version(), before)
  renameSync(`${directory}.gone`, directory)
  await lab.waitUntil(
    () => told('config.issue-mended').some((text) => wanted.test(text)),
    'the directory to be found again',
  )
  await holds(t)
  await restored(version())
})

test('a file written by halves is not taken up before it is whole', async (t) => {
  const before = version()
  const text = stringify(POLICY)
  const half = text.slice(0, text.indexOf('DENY') + 2)
  const inForce = told('config.issue').length
  // By an editor that writes in place.
  writeFileSync(path('policy.yaml'), half)
  await lab.waitUntil(() => told('config.issue').length > inForce, 'the half to be seen')
  await holds(t)
  t.is(version(), before)
  // By one that renames: hidden until it is whole.
  writeFileSync(path('.policy.yaml.part'), half)
  writeFileSync(path('.policy.yaml.part'), `${text}---\n${stringify(namespace('whole'))}`)
  renameSync(path('.policy.yaml.part'), path('policy.yaml'))
  await lab.waitUntil(() => version() > before, 'the whole to be in force')
  await holds(t)
  t.is(version(), before + 1)
  await restored(version())
})

test('an agent that restarts beside a broken file goes on with the last good one', async (t) => {
  const broken = (action: string) => stringify({ ...POLICY, spec: { action } })
  lab.config.writeText('policy.yaml', broken('PERHAPS'))
  await agent.restart()
  await agent.waitEnrolled(caller)
  await agent.waitEnrolled(callee)
  t.truthy(agent.logLines().find(({ event }) => event === 'config.last-good'))
  await holds(t)
  const before = version()
  for (const word of ['MAYBE', 'SOMETIMES']) {
    lab.config.writeText('policy.yaml', broken(word))
    await lab.waitUntil(() => told('config.issue').some((text) => text.includes(word)), word)
    await holds(t)
    t.is(version(), before)
  }
  await restored(before)
  await holds(t)
})

/** Runs `weft agent` in a place of its own, where it should not come up. */
async function refusedStart(more: readonly string[], as: readonly string[] = []) {
  const argv = [...as, process.execPath, WEFT, 'agent', '--node', 'refused', ...more]
  const options = { check: false, env: { NODE_NO_WARNINGS: '1' } }
  const { code, stdout, stderr } = await node.exec(argv, options)
  return { code, said: `${stdout}${stderr}` }
}

function places(name: string, directory: string): string[] {
  return [
    ...['--config', directory, '--state', join(lab.directory, `state-${name}`)],
    ...['--cgroup', join(lab.cgroup, name, 'agent'), '--watch', join(lab.cgroup, name, 'pods')],
    ...['--pins', `/sys/fs/bpf/${lab.prefix}-${name}`],
  ]
}

test('a first start beside a broken policy ends with one message, as weft check does', async (t) => {
  const config = new MeshConfig(join(lab.directory, 'first'))
  config.write('policy.yaml', [{ ...POLICY, spec: { action: 'PERHAPS' } }])
  const wanted = /policy\.yaml:\d+:\d+: error: .*spec\.action: expected ALLOW or DENY; found/g
  const { code, said } = await refusedStart(places('first', config.directory))
  t.is(code, 1)
  t.is(said.match(wanted)?.length, 1, said)
  t.regex(said, /the configuration in \/\S+\/first has errors, listed above: mend them/)
  t.false(existsSync(`/sys/fs/bpf/${lab.prefix}-first`))
  const checked = await check(config.directory)
  t.is(checked.code, 1)
  t.is(checked.stdout.match(wanted)?.length, 1)
  config.write('policy.yaml', [POLICY])
  t.is((await check(config.directory)).code, 0)
})

/** Somebody else, who may yet read the clone: below /root nobody may. */
const NOBODY = [
  ...['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'],
  ...['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search'],
  // Or access(2), by which files are looked for, would set the capability aside.
  '--securebits=+no_setuid_fixup',
]

const STARTS: readonly (readonly [
  name: string,
  more: () => readonly string[],
  says: RegExp,
  as?: readonly string[],
])[] = [
  [
    'without root',
    () => places('x', lab.config.directory),
    /needs root.*: run it with sudo/,
    NOBODY,
  ],
  [
    'without a directory of configuration',
    () => places('x', join(lab.directory, 'nowhere')),
    /--config \/\S+\/nowhere does not exist: make it, or name another/,
  ],
  ['with no word of it', () => [], /required option '--config <directory>' not specified/],
  [
    'with a cgroup that is none of version 2',
    () => [...places('x', lab.config.directory), '--cgroup', join(lab.directory, 'plain')],
    /\/plain is not below a cgroup v2 mount/,
  ],
  [
    'with a watched cgroup that is none of version 2',
    () => [...places('x', lab.config.directory), '--watch', join(lab.directory, 'plain')],
    /\/plain is not below a cgroup v2 mount/,
  ],
  [
    'that would take its workloads for itself',
    () => [...places('x', lab.config.directory), '--watch', join(lab.cgroup, 'x', 'agent', 'pods')],
    /--watch \/\S+ lies in --cgroup \/\S+, .*name two that are apart/,
  ],
  [
    'with pins outside the BPF file system',
    () => [...places('x', lab.config.directory), '--pins', join(lab.directory, 'pins')],
    /\/pins .*bpf/i,
  ],
  [
    'with no worker',
    () => [...places('x', lab.config.directory), '--workers', '0'],
    /expected a whole number from 1 to 16/,
  ],
]

for (const [name, more, says, as] of STARTS) {
  test(`an agent ${name} says so and ends`, async (t) => {
    const { code, said } = await refusedStart(more(), as)
    t.is(code, 1)
    t.regex(said, says)
    t.false(/ {4}at /.test(said), `a stack is no message: ${said}`)
    t.false(existsSync(`/sys/fs/bpf/${lab.prefix}-x`))
    t.false(existsSync(join(lab.directory, 'plain')))
  })
}
