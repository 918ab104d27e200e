import test from 'ava'
import { Busiest } from './busiest.ts'

test('keeps those with the most, the latest among equals', (t) => {
  const busiest = new Busiest<string>(3)
  for (const [value, amount] of Object.entries({
    a: 0,
    b: 5,
    c: 0,
    d: 9,
    e: 0,
    f: 0,
    g: 0,
    h: 0,
  })) {
    busiest.offer(value, amount)
  }
  t.deepEqual([...busiest.taken], ['d', 'b', 'h'])
  t.is(busiest.offered, 8)
})

test('fewer than it may keep are all kept, and none when it may keep none', (t) => {
  const few = new Busiest<number>(10)
  few.offer(1, 1)
  t.deepEqual([...few.taken], [1])
  const none = new Busiest<number>(0)
  for (let at = 0; at < 10; at++) none.offer(at, at)
  t.deepEqual([...none.taken], [])
  t.is(none.offered, 10)
})
