import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { claimAddress, parsePool, releaseAddress } from './address-pool.ts'

const pools: readonly (readonly [string, string | undefined, number, string])[] = [
  ['10.44.1.0/24', '10.44.1.1', 253, '10.44.1.2'],
  ['10.44.1.7/24', '10.44.1.1', 253, '10.44.1.2'],
  ['10.0.0.0/30', '10.0.0.1', 1, '10.0.0.2'],
  ['fd00:44::/64', 'fd00:44::1', 65534, 'fd00:44::2'],
  ['10.0.0.0/31', undefined, 0, ''],
  ['10.0.0.1', undefined, 0, ''],
  ['nonsense/8', undefined, 0, ''],
]

for (const [text, gateway, size, first] of pools) {
  test(`pool ${text}`, (t) => {
    const pool = parsePool(text)
    t.is(pool?.gateway, gateway)
    if (pool === undefined) return
    t.is(pool.size, size)
    t.is(pool.at(0), first)
  })
}

test('two workloads never share an address, and a full pool says so', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-pool-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const pool = parsePool('10.0.0.0/29')
  if (pool === undefined) return t.fail()
  const given = new Set<string>()
  for (let n = 0; n < pool.size; n++) given.add(claimAddress(pool, `w${n}`, directory, process.pid))
  t.is(given.size, 5)
  t.throws(() => claimAddress(pool, 'more', directory, process.pid), { message: /larger --pool/ })
  releaseAddress(directory, '10.0.0.4')
  t.is(claimAddress(pool, 'more', directory, process.pid), '10.0.0.4')
})

test('the address of a process that is gone is taken over', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-pool-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const pool = parsePool('10.0.0.0/30')
  if (pool === undefined) return t.fail()
  const gonePid = 2 ** 22 + 1 // above the largest pid Linux gives
  t.is(claimAddress(pool, 'a', directory, gonePid), '10.0.0.2')
  t.is(claimAddress(pool, 'b', directory, process.pid), '10.0.0.2')
  t.deepEqual(readdirSync(directory), ['10.0.0.2'])
})
