import test from 'ava'
import { Turnstile } from './turnstile.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('runs no more than its limit at once, in order, failures included', async (t) => {
  const turnstile = new Turnstile(3)
  const started: number[] = []
  const finish: ((fail: boolean) => void)[] = []
  const runs = Array.from({ length: 8 }, (_, at) =>
    turnstile.run(() => {
      started.push(at)
      return new Promise<number>((resolve, reject) => {
        finish[at] = (fail) => (fail ? reject(new Error('failed')) : resolve(at))
      })
    }),
  )
  await turn()
  t.deepEqual(started, [0, 1, 2])
  t.is(turnstile.waiting, 5)
  finish[1]?.(true)
  await t.throwsAsync(async () => runs[1])
  await turn()
  t.deepEqual(started, [0, 1, 2, 3])
  for (const at of [0, 2, 3, 4, 5, 6, 7]) {
    finish[at]?.(false)
    await runs[at]
    await turn()
  }
  t.deepEqual(started, [0, 1, 2, 3, 4, 5, 6, 7])
  t.is(turnstile.waiting, 0)
})
