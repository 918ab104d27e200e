import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { manualClock } from '../base/clock.ts'
import { silentLog } from '../base/log.ts'
import { AuthorityWatch } from './authority-watch.ts'

/** Moves the clock until the watch, which hears of files by the kernel, has seen them. */
async function until(clock: { advance(ms: number): void }, condition: () => boolean) {
  while (!condition()) {
    await new Promise((resolve) => setImmediate(resolve))
    clock.advance(1_000)
  }
}

test('a root that comes, changes or goes is noticed; keys and rewritten bytes are not', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-authority-'))
  writeFileSync(join(directory, 'root.crt'), 'one')
  const clock = manualClock()
  let changes = 0
  const watch = new AuthorityWatch(
    { clock, log: silentLog, onChange: () => void changes++ },
    { directory, nodeName: 'one' },
  )
  watch.start()
  t.teardown(() => {
    watch.stop()
    rmSync(directory, { recursive: true })
  })
  writeFileSync(join(directory, 'root.key'), 'secret')
  writeFileSync(join(directory, 'root.crt'), 'one')
  mkdirSync(join(directory, 'roots'))
  writeFileSync(join(directory, 'roots', 'old.crt'), 'two')
  await until(clock, () => changes === 1)
  writeFileSync(join(directory, 'roots', 'old.crt'), 'three')
  await until(clock, () => changes === 2)
  rmSync(join(directory, 'roots', 'old.crt'))
  await until(clock, () => changes === 3)
  writeFileSync(join(directory, 'root.crt'), 'four')
  await until(clock, () => changes === 4)
  symlinkSync('/nonexistent', join(directory, 'next.crt'))
  await until(clock, () => changes === 5)
  t.is(changes, 5)
})
