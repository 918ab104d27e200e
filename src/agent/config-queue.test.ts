import test from 'ava'
import { EMPTY_WORLD, type World } from '../api/world.ts'
import { manualClock } from '../base/clock.ts'
import { memoryLog } from '../base/log.ts'
import { NO_PLACES } from '../compile/assign-addresses.ts'
import type { Rules } from '../model/registry.ts'
import { ConfigQueue } from './config-queue.ts'

/** Worlds that differ, so that each can be recognised by its rules. */
const world = (): World => ({ ...EMPTY_WORLD })

let remembered = 0
const clock = manualClock()

test.serial('what arrives while one is applied replaces what still waits', async (t) => {
  const applied: Rules[] = []
  let release: (() => void) | undefined
  const queue = new ConfigQueue({
    log: memoryLog(),
    clock,
    refusal: () => undefined,
    report: () => {},
    addresses: { places: NO_PLACES, keep: async () => {} },
    remember: () => void remembered++,
    apply: async (_registry, rules) => {
      applied.push(rules)
      await new Promise<void>((resolve) => {
        release = resolve
      })
    },
  })
  queue.offer(world())
  while (release === undefined) await Promise.resolve()
  for (let n = 0; n < 5; n++) queue.offer(world())
  release()
  release = undefined
  while (release === undefined) await Promise.resolve()
  ;(release as () => void)()
  await queue.exclusive(async () => {})
  t.is(applied.length, 2)
})

test.serial('a failure to apply is told, not remembered, and tried again', async (t) => {
  const log = memoryLog()
  let calls = 0
  remembered = 0
  const queue = new ConfigQueue({
    log,
    clock,
    refusal: () => undefined,
    report: () => {},
    addresses: { places: NO_PLACES, keep: async () => {} },
    remember: () => void remembered++,
    apply: async () => {
      calls++
      if (calls === 1) throw new Error('no room')
    },
  })
  queue.offer(world())
  await queue.exclusive(async () => {})
  queue.offer(world())
  await queue.exclusive(async () => {})
  t.is(calls, 2)
  t.is(remembered, 1)
  t.like(log.entries[0], { level: 'error', event: 'config.apply-failed' })
})

test.serial('rules that a running agent cannot take up are refused with the reason', async (t) => {
  const log = memoryLog()
  const queue = new ConfigQueue({
    log,
    clock,
    refusal: () => 'restart the agents',
    report: () => {},
    addresses: { places: NO_PLACES, keep: async () => {} },
    remember: () => t.fail(),
    apply: async () => t.fail(),
  })
  queue.offer(world())
  await queue.exclusive(async () => {})
  t.like(log.entries[0], { level: 'error', event: 'config.refused' })
})
