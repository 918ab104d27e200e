import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { memoryLog, silentLog } from '../base/log.ts'
import { AddressMemory } from './address-memory.ts'

function file(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'weft-addresses-'))
  t.teardown(() => rmSync(path, { recursive: true }))
  return join(path, 'addresses.json')
}

const PLACES = new Map([
  ['shop/b', 7],
  ['shop/a', 3],
])

test('what was kept is there again, in its order, and only root may read it', async (t) => {
  const path = file(t)
  await new AddressMemory({ log: silentLog }, path).keep(PLACES)
  const again = new AddressMemory({ log: silentLog }, path)
  t.deepEqual([...again.places], [...PLACES])
  t.is(statSync(path).mode & 0o777, 0o600)
})

test('the same again is not written', async (t) => {
  const path = file(t)
  const memory = new AddressMemory({ log: silentLog }, path)
  await memory.keep(PLACES)
  rmSync(path)
  await memory.keep(new Map(PLACES))
  t.false(existsSync(path))
  await memory.keep(new Map([...PLACES].reverse()))
  t.true(existsSync(path))
})

for (const [what, text, warns] of [
  ['no JSON', '{', true],
  ['another format', '{"format":0,"places":[["a",1]]}', false],
  ['another shape', '{"format":1}', true],
  ['places out of the range', '{"format":1,"places":[["a",0],["b",99999],[3,4]]}', false],
] as const) {
  test(`${what} is nothing`, (t) => {
    const path = file(t)
    writeFileSync(path, text)
    const log = memoryLog()
    t.is(new AddressMemory({ log }, path).places.size, 0)
    t.is(log.entries.length > 0, warns)
    t.is(existsSync(path), !warns)
  })
}

test('what cannot be written holds all the same', async (t) => {
  const log = memoryLog()
  const memory = new AddressMemory({ log }, join(file(t), 'nowhere'))
  await memory.keep(PLACES)
  t.deepEqual(memory.places, PLACES)
  t.true(log.entries.some(({ event }) => event === 'addresses.memory-failed'))
})
