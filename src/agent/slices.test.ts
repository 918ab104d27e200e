import test from 'ava'
import { defaultSlices } from './slices.ts'

test('slices are where systemd puts those of these names, workloads apart from agents', (t) => {
  const { agents, workloads, hosts } = defaultSlices('/sys/fs/cgroup')
  const slices = [agents, workloads, hosts]
  for (const path of slices) {
    const [name = '', ...above] = path.slice('/sys/fs/cgroup/'.length).split('/').reverse()
    const words = name.replace(/\.slice$/, '').split('-')
    const expected = words.slice(0, -1).map((_, at) => `${words.slice(0, at + 1).join('-')}.slice`)
    t.deepEqual(above.reverse(), expected, path)
    for (const other of slices) t.is(path.startsWith(`${other}/`), false)
  }
})
