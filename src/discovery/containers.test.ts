import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { memoryLog } from '../base/log.ts'
import { LIMITS } from '../model/limits.ts'
import { Containers } from './containers.ts'

const ID = '0123456789abcdef'.repeat(4)
const POD = 'fedcba9876543210'.repeat(4)

type Files = Readonly<Record<string, unknown>>

/** Runtimes' files below a directory of the test's own; texts as they are, the rest as JSON. */
function machine(t: ExecutionContext, files: Files, watched = 'weft') {
  const root = mkdtempSync(join(tmpdir(), 'weft-containers-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  const write = (path: string, content: unknown): void => {
    const file = join(root, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
  }
  for (const [path, content] of Object.entries(files)) write(path, content)
  const log = memoryLog()
  const containers = new Containers({ log }, { watched, root })
  const look = (path: string, pids: readonly number[] = [7]) =>
    containers.look([{ path, pids }]).get(path)
  return { look, containers, log, write }
}

const runcState = (id: string, cgroup: string, pid = 7, labels: readonly string[] = []) => ({
  id,
  init_process_pid: pid,
  config: { cgroups: { path: cgroup }, labels },
  cgroup_paths: { '': `/sys/fs/cgroup${cgroup}` },
})

const cases: readonly {
  readonly what: string
  readonly files: Files
  readonly path: string
  readonly id: string
  readonly names: readonly string[]
  readonly sandbox?: string
}[] = [
  {
    what: 'runc, by the cgroup it was told',
    files: { 'run/runc/web/state.json': runcState('web', '/weft/any') },
    path: 'any',
    id: 'web',
    names: ['web'],
  },
  {
    what: 'runc on a host with both versions of cgroups',
    files: {
      'run/runc/web/state.json': {
        ...runcState('web', '/weft/any'),
        cgroup_paths: { '': '/sys/fs/cgroup/unified/weft/any', pids: '/sys/fs/cgroup/pids/else' },
      },
    },
    path: 'any',
    id: 'web',
    names: ['web'],
  },
  {
    what: 'a cgroup that a container made inside of its own',
    files: { 'run/runc/web/state.json': runcState('web', '/weft/any') },
    path: 'any/inner',
    id: 'web',
    names: ['web'],
  },
  {
    what: 'crun, with annotations of its bundle',
    files: {
      'run/crun/web/status': { pid: 7, 'cgroup-path': '/weft/any' },
      'run/crun/web/config.json': { annotations: { 'nerdctl/name': 'front' } },
    },
    path: 'any',
    id: 'web',
    names: ['front', 'web'],
  },
  {
    what: 'Docker, whose names begin with a slash',
    files: {
      [`var/lib/docker/containers/${ID}/config.v2.json`]: { ID, Name: '/shop-db', Config: {} },
      [`run/docker/runtime-runc/moby/${ID}/state.json`]: runcState(ID, `/weft/docker-${ID}.scope`),
    },
    path: `docker-${ID}.scope`,
    id: ID,
    names: [ID, 'shop-db'],
  },
  {
    what: 'nerdctl, by the annotation in the task bundle',
    files: {
      [`run/containerd/io.containerd.runtime.v2.task/default/${ID}/config.json`]: {
        annotations: { 'nerdctl/name': 'db', 'nerdctl/namespace': 'default' },
      },
    },
    path: `default/${ID}`,
    id: ID,
    names: ['db'],
  },
  {
    what: 'containerd under Kubernetes, with its pod',
    files: {
      [`run/containerd/runc/k8s.io/${ID}/state.json`]: runcState(ID, `/weft/pod1/${ID}`, 7, [
        'io.kubernetes.cri.container-name=app',
        'io.kubernetes.cri.sandbox-name=web-0',
        'io.kubernetes.cri.sandbox-namespace=shop',
        `io.kubernetes.cri.sandbox-id=${POD}`,
      ]),
    },
    path: `pod1/${ID}`,
    id: ID,
    names: [ID, 'app', 'shop/web-0', 'shop/web-0/app'],
    sandbox: POD,
  },
  {
    what: 'CRI-O, by the labels in the bundle',
    files: {
      [`run/crun/${ID}/status`]: { pid: 7, 'cgroup-path': `/weft/crio-${ID}.scope` },
      [`run/crun/${ID}/config.json`]: {
        annotations: {
          'io.kubernetes.container.name': 'app',
          'io.kubernetes.pod.name': 'web-0',
          'io.kubernetes.pod.namespace': 'shop',
          'io.kubernetes.cri-o.SandboxID': POD,
        },
      },
    },
    path: `crio-${ID}.scope`,
    id: ID,
    names: [ID, 'app', 'shop/web-0', 'shop/web-0/app'],
    sandbox: POD,
  },
  {
    what: 'Podman, by its list of containers',
    files: {
      'var/lib/containers/storage/overlay-containers/containers.json': [
        { id: POD, names: ['other'] },
        { id: ID, names: ['db'] },
      ],
    },
    path: `libpod-${ID}.scope/container`,
    id: ID,
    names: ['db'],
  },
  {
    what: 'Podman with --rm',
    files: {
      'var/lib/containers/storage/overlay-containers/volatile-containers.json': [
        { id: ID, names: ['db'] },
      ],
    },
    path: `libpod-${ID}.scope`,
    id: ID,
    names: ['db'],
  },
  {
    what: 'a runtime of which only the cgroup is known',
    files: {},
    path: `docker-${ID}.scope`,
    id: ID,
    names: [],
  },
  {
    what: 'Docker inside of a container: whoever is outside counts',
    files: {
      'run/runc/outer/state.json': runcState('outer', '/weft/outer'),
      [`var/lib/docker/containers/${ID}/config.v2.json`]: { ID, Name: '/db', Config: {} },
    },
    path: `outer/docker-${ID}.scope`,
    id: 'outer',
    names: ['outer'],
  },
]

for (const { what, files, path, id, names, sandbox = id } of cases) {
  test(`knows ${what}`, (t) => {
    const { look, log } = machine(t, files)
    t.deepEqual(look(path), { id, names, sandbox })
    t.deepEqual(log.entries, [])
  })
}

test('a state whose process is not in that cgroup is of a container that is gone', (t) => {
  const { look } = machine(t, {
    'run/runc/old/state.json': runcState('old', '/weft/any', 6),
    'run/crun/older/status': { pid: 5, 'cgroup-path': '/weft/any' },
  })
  t.is(look('any', [7]), undefined)
  t.is(look('any', [6, 7])?.id, 'old')
  t.is(look('any', [5])?.id, 'older')
})

test('a state names no cgroup outside of the watched one, and not that itself', (t) => {
  for (const cgroup of ['/', '/weft', '/weft/', '/weft2/any', '/any', '/weft/../any', '']) {
    const { look } = machine(t, { 'run/runc/web/state.json': runcState('web', cgroup) })
    t.is(look('any'), undefined, cgroup)
  }
})

test('what the root of cgroups holds is found when that is watched', (t) => {
  const { look } = machine(t, { 'run/runc/web/state.json': runcState('web', '/any') }, '')
  t.is(look('any')?.id, 'web')
})

test('malformed files are ignored and told once, until they change', (t) => {
  const file = 'run/runc/bad/state.json'
  const { look, log, write } = machine(t, {
    [file]: '{"id":',
    'run/runc/good/state.json': runcState('good', '/weft/any'),
    'run/runc/list/state.json': '[]',
    'run/crun/odd/status': '{"pid":"x"}',
    'var/lib/containers/storage/overlay-containers/containers.json': '{}',
  })
  for (let n = 0; n < 3; n++) t.is(look('any')?.id, 'good')
  const told = log.entries.map(({ event, fields }) => [
    event,
    String(fields.file).split('/').at(-2),
  ])
  t.deepEqual(
    told.sort(),
    ['bad', 'list', 'odd', 'overlay-containers'].map((name) => ['containers.state-ignored', name]),
  )
  write(file, runcState('bad', '/weft/another'))
  t.is(look('another')?.id, 'bad')
  t.is(log.entries.length, 4)
})

test('a file that is too big is not read', (t) => {
  const { look, log } = machine(t, {
    'run/runc/web/state.json': `${' '.repeat(LIMITS.containerStateBytesMax)}${JSON.stringify(runcState('web', '/weft/any'))}`,
  })
  t.is(look('any'), undefined)
  t.is(log.entries.length, 1)
})

test('a container that is given another name is known by that', (t) => {
  const file = `var/lib/docker/containers/${ID}/config.v2.json`
  const { look, write } = machine(t, { [file]: { ID, Name: '/one', Config: {} } })
  t.deepEqual(look(`docker-${ID}.scope`)?.names, ['one'])
  write(file, { ID, Name: '/another', Config: {} })
  t.deepEqual(look(`docker-${ID}.scope`)?.names, ['another'])
})
