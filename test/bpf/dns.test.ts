import type { ExecutionContext } from 'ava'
import test from 'ava'
import type { Pod } from '../lab/pod.ts'
import { ask, type Heard } from './ask.ts'
import { Stage } from './stage.ts'

const RESOLVERS = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'] as const

let stage: Stage
let a: Pod
let number: number

async function counted(name: string, task: () => Promise<unknown>): Promise<number> {
  const before = (await stage.driver.counters())[name] ?? 0
  await task()
  return ((await stage.driver.counters())[name] ?? 0) - before
}

test.before(async () => {
  stage = await Stage.open()
  await stage.begin()
  a = await stage.node.pod('a')
  number = (await stage.driver.enrol(a)).number
})

test.after.always(() => stage?.close())

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain())
})

/** glibc's way: a connected socket, both questions in one call. */
const connected = (host: string): string => `
s=udp("${host}"); s.connect(("${host}", 53))
s.send(b"A"); s.send(b"AAAA")
tell([[got(s), got(s)], list(s.getpeername()[:2]), list(s.getsockname()[:2])])`

async function answersConnected(t: ExecutionContext, host: string, shown = host): Promise<void> {
  const [answers, peer, local] = await ask<[Heard[], [string, number], [string, number]]>(
    a,
    connected(host),
  )
  t.deepEqual(answers.map(({ question }) => question).sort(), ['A', 'AAAA'])
  const plain = shown.replace('::ffff:', '')
  for (const answer of answers) {
    t.is(answer.asked, plain.includes(':') ? `[${plain}]:53` : `${plain}:53`)
    t.is(answer.workload, number)
    t.deepEqual(answer.from, [shown, 53])
    t.true(answer.client.endsWith(`:${local[1]}`))
  }
  t.deepEqual(peer, [shown, 53])
}

for (const host of [RESOLVERS[0], '2001:db8::53', `::ffff:${RESOLVERS[0]}`]) {
  test.serial(`a connected socket asks ${host}`, async (t) => {
    t.is(await counted('dns_captured', () => answersConnected(t, host)), 1)
  })
}
