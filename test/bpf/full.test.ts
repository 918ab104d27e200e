// Maps that are full: what finds no room is refused and counted, never let past the mesh, and what
// had its place keeps it.
import test from 'ava'
import type { Node } from '../lab/node.ts'
import type { Pod } from '../lab/pod.ts'
import { server } from '../lab/programs.ts'
import { ask as question } from './ask.ts'
import { answererOf, ask, Doorman, enrolHost, portsOf } from './host-stage.ts'
import { Stage } from './stage.ts'

const OUTSIDE = '198.51.100.1'
const RESOLVER = '192.0.2.1'
const SSH = 7022

let stage: Stage
let other: Node
let pod: Pod

test.before(async () => {
  stage = await Stage.open()
  other = await stage.lab.node('n2')
  await stage.begin()
  pod = await stage.pod('pod')
  await stage.node.run(server('identity', SSH, { name: 'ssh' }), { waitFor: 'listening' })
})

test.after.always(() => stage?.close())

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain())
})

const count = async (name: string): Promise<number> => (await stage.driver.counters())[name] ?? 0

/** Runs a task while a map takes nothing more. */
async function whileFull(name: string, task: () => Promise<void>): Promise<void> {
  const most = 1 << 20
  const added = await stage.driver.call<number>('fill', { name, most })
  try {
    await task()
  } finally {
    await stage.driver.call('drain', { name, count: added })
  }
}

test.serial('a port for which there is no room is reached by nobody', async (t) => {
  const web = stage.node.service('web')
  const number = await enrolHost(stage, web)
  const doorman = await Doorman.start(web, 'web')
  await doorman.open('0.0.0.0', 7100)
  await whileFull('weft_host_ports', async () => {
    const key = await doorman.open('0.0.0.0', 7101)
    t.true((await count('ports_full')) > 0)
    for (const who of [other, stage.node]) {
      t.is(await answererOf(who, stage.node.ip, 7101, { timeoutSeconds: 1 }), 'ETIMEDOUT')
      t.is(await answererOf(who, stage.node.ip, SSH), 'ssh')
      t.is((await ask(who, stage.node.ip, 7100)).workload, number, 'what had its place')
    }
    t.true((await count('unadmitted')) > 0)
    await doorman.close(key)
  })
  await doorman.open('0.0.0.0', 7101)
  t.is((await ask(other, stage.node.ip, 7101)).workload, number)
  doorman.program.kill()
  await stage.driver.call('withdrawHost', 'web')
})

test.serial(
  'a workload for which there is no room is refused whole, and comes in later',
  async (t) => {
    const known = stage.node.service('known')
    const late = stage.node.service('late')
    const number = await enrolHost(stage, known)
    const before = await stage.driver.call('mapSize', 'weft_hosts')
    await whileFull('weft_hosts', async () => {
      await t.throwsAsync(enrolHost(stage, late), { message: /weft_hosts/ })
      t.is((await ask(known, OUTSIDE, 80)).workload, number)
      t.is(await answererOf(late, other.ip, SSH), 'ECONNREFUSED', 'by the other node itself')
      await t.throwsAsync(stage.driver.call('setProbes', [late.cgroup]), { message: /weft_hosts/ })
    })
    t.is(await stage.driver.call('mapSize', 'weft_hosts'), before)
    t.not(await enrolHost(stage, late), number)
    t.is((await ask(late, OUTSIDE, 80)).class, 'outbound')
    for (const uid of ['known', 'late']) await stage.driver.call('withdrawHost', uid)
    t.deepEqual(await portsOf(stage), [])
    t.is(await stage.driver.call('mapSize', 'weft_hosts'), 0)
  },
)

test.serial('whoever asks is told, however many have asked before', async (t) => {
  await stage.driver.call('fill', { name: 'weft_asked', most: 1 << 17 })
  const heard = await question<{ asked: string }[]>(
    pod,
    `

def one():
    s=udp(); sent(s, "q", "${RESOLVER}"); return got(s)
tell([one() for _ in range(64)])`,
  )
  t.is(heard.length, 64)
  t.true(heard.every(({ asked }) => asked === `${RESOLVER}:53`))
})
