import test from 'ava'
import { cgroup2Mount, type MachineFacts, unmetNeed } from './preflight.ts'

const GOOD: MachineFacts = {
  platform: 'linux',
  uid: 0,
  kernelRelease: '6.6.0-18-amd64',
  hasBtf: true,
  cgroup2: '/sys/fs/cgroup',
  isCgroup2Whole: true,
  hasBpffs: true,
}

const cases: readonly (readonly [string, Partial<MachineFacts>, RegExp | undefined])[] = [
  ['a good machine', {}, undefined],
  ['a newer kernel', { kernelRelease: '7.0.1' }, undefined],
  ['another system', { platform: 'darwin' }, /Linux only/],
  ['an ordinary user', { uid: 1000 }, /needs root/],
  ['an old kernel', { kernelRelease: '5.15.0-91-generic' }, /6\.1 or later.*5\.15/],
  ['the oldest kernel that will do', { kernelRelease: '6.1.0-56-cloud-amd64' }, undefined],
  ['an almost new kernel', { kernelRelease: '6.0.19' }, /6\.1 or later/],
  ['no type information', { hasBtf: false }, /CONFIG_DEBUG_INFO_BTF/],
  ['no cgroup v2', { cgroup2: undefined }, /mount -t cgroup2/],
  ['a cgroup namespace', { isCgroup2Whole: false }, /cgroup hierarchy.*--cgroupns=host/],
  ['no bpffs', { hasBpffs: false }, /mount -t bpf/],
]

for (const [what, change, expected] of cases) {
  test(`${what} is ${expected === undefined ? 'accepted' : 'refused in one sentence'}`, (t) => {
    const said = unmetNeed({ ...GOOD, ...change })
    if (expected === undefined) t.is(said, undefined)
    else t.regex(said ?? '', expected)
    t.false(said?.includes('\n') ?? false)
  })
}

test('finds cgroup v2 in a hybrid layout', (t) => {
  const mounts =
    'cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n'
  t.is(cgroup2Mount(mounts), '/sys/fs/cgroup/unified')
  t.is(cgroup2Mount('tmpfs / tmpfs rw 0 0\n'), undefined)
})
