import test from 'ava'
import { disguise } from './deliver.ts'

const TARGET = { ip: '10.0.0.2', port: 80 }
const OWN = { addresses: ['10.0.0.2', 'fd00::2'], hostNetwork: false }

test('connects with the client as source, below the ephemeral ports', (t) => {
  t.deepEqual(disguise({ ip: '10.0.0.1', port: 40_000 }, TARGET, OWN), {
    source: { address: '10.0.0.1', port: 0 },
    portRange: [1_024, 32_767],
    transparent: true,
    freebind: true,
    mark: 0x111,
  })
})

for (const [port, range] of [
  [1_023, [1_024, 32_767]],
  [1_024, [1_025, 32_767]],
  [5_000, [5_001, 32_767]],
  [30_000, [1_024, 29_999]],
  [32_767, [1_024, 32_766]],
  [32_768, [1_024, 32_767]],
] as const) {
  test(`leaves the client's own port ${port} out`, (t) => {
    t.deepEqual(disguise({ ip: '10.0.0.1', port }, TARGET, OWN).portRange, range)
  })
}

test('a call of the pod to itself is not disguised', (t) => {
  t.deepEqual(disguise({ ip: '10.0.0.2', port: 40_000 }, TARGET, OWN), {})
  t.deepEqual(disguise({ ip: 'fd00::2', port: 40_000 }, TARGET, OWN), {})
})

test('on the node nobody is pretended to be, and the mark says that it is a delivery', (t) => {
  const node = { ...OWN, hostNetwork: true }
  for (const ip of ['10.0.0.1', '10.0.0.2', '127.0.0.1']) {
    t.deepEqual(disguise({ ip, port: 40_000 }, TARGET, node), { mark: 0x111 })
  }
})
