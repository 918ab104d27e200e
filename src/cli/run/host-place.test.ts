import test from 'ava'
import { hostPlace } from './host-place.ts'

const request = {
  namespace: 'shop',
  name: 'web',
  address: undefined,
  slice: '/cg/weft-hosts.slice',
  cgroup2: '/cg',
}

test('a cgroup elsewhere, or of too long a name, is refused with the remedy', async (t) => {
  for (const wrong of [{ slice: '/elsewhere' }, { name: 'x'.repeat(95) }]) {
    await t.throwsAsync(hostPlace({ ...request, ...wrong }), {
      code: 'run.cgroup',
      message: /give a --host-slice below \/cg, and shorter names/,
    })
  }
})

test('an address that is not of this node is refused', async (t) => {
  for (const address of ['192.0.2.1', '127.0.0.1', '::1', 'localhost']) {
    await t.throwsAsync(hostPlace({ ...request, address }), {
      code: 'run.address',
      message: /is no address of this node: give one of/,
    })
  }
})
