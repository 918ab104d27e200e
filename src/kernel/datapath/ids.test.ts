import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { memoryLog } from '../../base/log.ts'
import { WorkloadIds } from './ids.ts'

interface Place {
  readonly directory: string
  next: number
}

function withPlace(run: (place: Place) => void): void {
  const directory = mkdtempSync(join(tmpdir(), 'weft-ids-'))
  try {
    run({ directory, next: 0 })
  } finally {
    rmSync(directory, { recursive: true })
  }
}

function open(place: Place, bootId = 'boot-1') {
  const log = memoryLog()
  const highWater = {
    read: () => place.next,
    write: (next: number) => {
      place.next = next
    },
  }
  const ids = new WorkloadIds({ log, highWater }, { directory: place.directory, bootId })
  ids.load()
  return { ids, log }
}

test('keeps numbers over a restart, whatever order workloads come in', (t) => {
  withPlace((place) => {
    const first = open(place).ids
    const before = ['a', 'b', 'c'].map((uid) => first.numberOf(uid))
    t.deepEqual(before, [1, 2, 3])
    const second = open(place).ids
    t.deepEqual(
      ['c', 'a', 'b'].map((uid) => second.numberOf(uid)),
      [3, 1, 2],
    )
    t.is(second.uidOf(2), 'b')
    t.is(second.numberOf('d'), 4)
  })
})

test('gives no number twice when the file is lost or damaged while the maps live', (t) => {
  for (const damage of ['', '{"bootId":"boot-1"}', '{"bootId":"boot-1","ids":{"a":0}}', 'lost']) {
    withPlace((place) => {
      open(place).ids.numbersOf(['a', 'b'])
      const file = join(place.directory, 'workload-ids.json')
      if (damage === 'lost') rmSync(file)
      else writeFileSync(file, damage)
      const { ids, log } = open(place)
      t.is(ids.find('a'), undefined)
      t.is(ids.numberOf('b'), 3, damage)
      t.is(log.entries.length, damage === 'lost' ? 0 : 1, damage)
    })
  }
})

test('starts anew after a reboot, when the maps are gone as well', (t) => {
  withPlace((place) => {
    open(place).ids.numbersOf(['a', 'b'])
    place.next = 0
    t.is(open(place, 'boot-2').ids.numberOf('b'), 1)
  })
})

test('keeps a number on disk before anybody uses it', (t) => {
  withPlace((place) => {
    const { ids } = open(place)
    ids.numberOf('a')
    const stored = JSON.parse(readFileSync(join(place.directory, 'workload-ids.json'), 'utf8'))
    t.deepEqual(stored, { bootId: 'boot-1', ids: { a: 1 } })
  })
})

test('forgets workloads that are not in use once there are too many, and never their numbers', (t) => {
  withPlace((place) => {
    const { ids } = open(place)
    const many = Array.from({ length: 20_000 }, (_, at) => `w${at}`)
    ids.numbersOf(many)
    ids.prune(new Set(['w0', 'w19999']))
    t.is(ids.find('w0'), 1)
    t.is(ids.find('w1'), undefined)
    t.is(ids.numberOf('w1'), 20_001)
  })
})
