import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { memoryLog, silentLog } from '../base/log.ts'
import { compileWorld } from '../compile/registry.ts'
import { loadDirectory } from '../discovery/file-source.ts'
import { LastGood } from './last-good.ts'

const EXAMPLE = fileURLToPath(new URL('../../config/examples/shop', import.meta.url))

function directory(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'weft-memory-'))
  t.teardown(() => rmSync(path, { recursive: true }))
  return path
}

test('what was remembered compiles to the same mesh, and only root may read it', async (t) => {
  const file = join(directory(t), 'last-good.json')
  const memory = new LastGood({ log: silentLog }, { file, directory: '/mesh' })
  const { world } = await loadDirectory(EXAMPLE)
  memory.remember(world)
  await memory.settled()
  const recalled = new LastGood({ log: silentLog }, { file, directory: '/mesh' }).recall()
  if (recalled === undefined) return t.fail()
  t.deepEqual(compileWorld(recalled), compileWorld(world))
  t.is(statSync(file).mode & 0o777, 0o600)
})

test('of many in a row the last is kept', async (t) => {
  const file = join(directory(t), 'last-good.json')
  const memory = new LastGood({ log: silentLog }, { file, directory: '/mesh' })
  const { world } = await loadDirectory(EXAMPLE)
  for (let n = 0; n <= world.Pod.length; n++)
    memory.remember({ ...world, Pod: world.Pod.slice(0, n) })
  await memory.settled()
  t.true(world.Pod.length > 1)
  t.is(memory.recall()?.Pod.length, world.Pod.length)
})

for (const [what, text] of [
  ['of another format', '{"format":0,"world":{}}'],
  ['that is not whole', '{"format":1,"world":{"Pod":[]}}'],
  ['that is no JSON', '{"format":1,'],
] as const) {
  test(`a memory ${what} is no memory`, (t) => {
    const file = join(directory(t), 'last-good.json')
    writeFileSync(file, text)
    t.is(new LastGood({ log: memoryLog() }, { file, directory: '/mesh' }).recall(), undefined)
  })
}

test('what another directory held is another mesh', async (t) => {
  const file = join(directory(t), 'last-good.json')
  const memory = new LastGood({ log: silentLog }, { file, directory: '/mesh' })
  memory.remember((await loadDirectory(EXAMPLE)).world)
  await memory.settled()
  t.is(new LastGood({ log: silentLog }, { file, directory: '/other' }).recall(), undefined)
})

test('without a memory there is nothing to recall', (t) => {
  t.is(
    new LastGood({ log: silentLog }, { file: '/nonexistent/x', directory: '/mesh' }).recall(),
    undefined,
  )
})
