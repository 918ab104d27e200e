import test from 'ava'
import { isKernelNewEnough, kernelProblems, machineProblems, problems } from './checks.mjs'
import { cgroup2Mount, mountPoints } from './facts.mjs'
import { isDebianLike, missingRows, systemDirectories } from './packages.mjs'
import { isInstalled } from './stamps.mjs'

const GOOD = {
  command: 'npm start',
  platform: 'linux',
  arch: 'x64',
  uid: 0,
  kernelRelease: '6.6.0-18-amd64',
  btf: true,
  cgroup2: '/sys/fs/cgroup',
  cgroup2Error: '',
  cgroup2Whole: true,
  bpffs: true,
  bpffsError: '',
  bpfError: '',
}

test('finds nothing wrong with a good machine', (t) => {
  t.deepEqual(problems(GOOD), [])
})

const CASES = [
  ['another system', { platform: 'darwin', uid: 501 }, /^weft runs on Linux only.*darwin/],
  ['another processor', { arch: 'riscv64' }, /^weft runs on x64 and arm64.*riscv64/],
  ['no root', { uid: 1000 }, /^weft needs root to load BPF programs: run `sudo npm start`\.$/],
  ['an old kernel', { kernelRelease: '5.10.0-28-amd64' }, /^weft needs Linux 6\.1.*5\.10\.0-28/],
  ['no BTF', { btf: false }, /BTF/],
  ['no cgroup v2', { cgroup2: null, cgroup2Error: 'EPERM' }, /cgroup v2.*\(mounting it.*EPERM\)/],
  ['a cgroup namespace', { cgroup2Whole: false }, /whole cgroup hierarchy.*--cgroupns=host/],
  ['no bpffs', { bpffs: false }, /mount -t bpf bpf \/sys\/fs\/bpf/],
  ['no bpf(2)', { bpfError: 'EPERM' }, /bpf\(2\) answers EPERM.*--privileged/],
]

for (const [what, change, sentence] of CASES) {
  test(`says one sentence about ${what}`, (t) => {
    const found = problems({ ...GOOD, ...change })
    t.is(found.length, 1)
    t.regex(found[0], sentence)
    t.regex(found[0], /\.$/)
    t.false(found[0].includes('\n'))
  })
}

test('says the most basic problem first', (t) => {
  const found = problems({ ...GOOD, uid: 1000, btf: false, cgroup2: null })
  t.is(found.length, 3)
  t.regex(found[0], /root/)
})

test('judges the machine before anything is mounted', (t) => {
  t.deepEqual(machineProblems({ ...GOOD, cgroup2: undefined, bpffs: undefined }), [])
  t.is(kernelProblems({ ...GOOD, bpffs: false }).length, 1)
})

const RELEASES = [
  ['6.6.0-18-amd64', true],
  ['6.1.0-56-cloud-amd64', true],
  ['6.18.44', true],
  ['7.0-rc1', true],
  ['10.2', true],
  ['6.0.19', false],
  ['5.15.0-101-generic', false],
  ['4.19', false],
  ['', false],
  ['rolling', false],
]

for (const [release, isEnough] of RELEASES) {
  test(`kernel "${release}" is ${isEnough ? '' : 'not '}new enough`, (t) => {
    t.is(isKernelNewEnough(release), isEnough)
  })
}

const line = (path, type) => `36 25 0:31 / ${path} rw,relatime shared:9 - ${type} none rw`

test('finds the unified cgroup root before any other cgroup2 mount', (t) => {
  const info = [line('/mnt/x', 'cgroup2'), line('/sys/fs/cgroup', 'cgroup2')].join('\n')
  t.is(cgroup2Mount(info), '/sys/fs/cgroup')
})

test('finds cgroup v2 in the hybrid layout', (t) => {
  const info = [
    line('/sys/fs/cgroup', 'tmpfs'),
    line('/sys/fs/cgroup/cpu', 'cgroup'),
    line('/sys/fs/cgroup/unified', 'cgroup2'),
  ].join('\n')
  t.is(cgroup2Mount(info), '/sys/fs/cgroup/unified')
  t.deepEqual(mountPoints(info, 'tmpfs'), ['/sys/fs/cgroup'])
})

test('says that no cgroup v2 is mounted', (t) => {
  t.is(cgroup2Mount(line('/sys/fs/cgroup/cpu', 'cgroup')), null)
})

test('knows Debian and its descendants', (t) => {
  t.true(isDebianLike('NAME="Debian GNU/Linux"\nID=debian\n'))
  t.true(isDebianLike('ID=ubuntu\nID_LIKE=debian\n'))
  t.true(isDebianLike('ID=linuxmint\nID_LIKE="ubuntu debian"\n'))
  t.false(isDebianLike('ID=fedora\n'))
  t.false(isDebianLike(''))
})

test('asks only for packages of which no alternative is installed', (t) => {
  const needed = [{ packages: [['a']] }, { packages: [['b'], ['c', 'd']] }, { packages: [['e']] }]
  const missing = (...installed) => missingRows((name) => installed.includes(name), needed)
  t.deepEqual(missing('a', 'c', 'd', 'e'), [])
  t.deepEqual(missing('a', 'c'), [needed[1], needed[2]])
})

test('compares installed modules with the lock file', (t) => {
  const locked = {
    packages: {
      '': { version: '1' },
      'node_modules/a': { version: '1.0.0' },
      'node_modules/other-cpu': { version: '2.0.0', optional: true },
    },
  }
  const installed = (packages) => isInstalled(locked, { packages })
  t.true(installed({ 'node_modules/a': { version: '1.0.0' } }))
  t.false(installed({ 'node_modules/a': { version: '0.9.0' } }))
  t.false(installed({}))
  t.false(isInstalled(locked, undefined))
  t.false(
    installed({
      'node_modules/a': { version: '1.0.0' },
      'node_modules/other-cpu': { version: '1.0.0', optional: true },
    }),
  )
})

test('commands are those of the system, not of npm modules', (t) => {
  const path = '/a b/weft/node_modules/.bin:/a b/node_modules/.bin:/usr/local/bin:/usr/bin'
  t.deepEqual(systemDirectories(path), ['/usr/local/bin', '/usr/bin', '/usr/sbin', '/sbin'])
})
