import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { memoryLog } from '../base/log.ts'
import { PathWatch, wayTo } from './path-watch.ts'

function bench(t: ExecutionContext) {
  const root = mkdtempSync(join(tmpdir(), 'weft-way-'))
  let tell = (): void => {}
  const watch = new PathWatch({ log: memoryLog(), onChange: () => tell() }, { root })
  t.teardown(() => {
    watch.stop()
    rmSync(root, { recursive: true })
  })
  /** Resolves with the next change that is told after `act`. */
  const told = (act: () => void): Promise<void> => {
    const heard = new Promise<void>((resolve) => {
      tell = resolve
    })
    act()
    return heard
  }
  return { root, watch, told }
}

test('a directory on the way that is made, or made anew, is told', async (t) => {
  const { root, watch, told } = bench(t)
  const path = join(root, 'a.slice/b.slice/c.service')
  watch.follow([path])
  const ways = [wayTo(root, path)]
  for (const act of [
    () => mkdirSync(join(root, 'a.slice')),
    () => mkdirSync(join(root, 'a.slice/b.slice')),
    () => renameSync(join(root, 'a.slice/b.slice'), join(root, 'a.slice/old')),
    () => mkdirSync(join(root, 'a.slice/b.slice')),
  ]) {
    await told(act)
    watch.follow([path])
    ways.push(wayTo(root, path))
  }
  t.is(new Set(ways).size, 4, 'without a.slice/b.slice it is the same as before it was')
  t.is(ways[1], ways[3])
})

test('neighbours on the way are nobody to tell of', async (t) => {
  const { root, watch, told } = bench(t)
  const path = join(root, 'a.slice/c.service')
  mkdirSync(join(root, 'a.slice'))
  watch.follow([path])
  const before = wayTo(root, path)
  await told(() => {
    mkdirSync(join(root, 'b.slice'))
    mkdirSync(join(root, 'a.slice/d.service'))
    mkdirSync(path)
  })
  t.is(wayTo(root, path), before)
})
