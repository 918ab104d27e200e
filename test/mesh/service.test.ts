// The agent as a service manager runs it: in a cgroup of the manager's, told how the agent is.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { Agent } from '../lab/agent.ts'
import { Lab } from '../lab/lab.ts'
import { podResource } from '../lab/mesh-config.ts'
import type { Node } from '../lab/node.ts'
import type { Pod } from '../lab/pod.ts'
import type { Program } from '../lab/program.ts'
import * as programs from '../lab/programs.ts'
import { call, serve } from './mesh.ts'

const ECHO = 7000

let lab: Lab
let node: Node
let caller: Pod
let server: Pod
let agent: Agent
let manager: Program

test.before(async () => {
  lab = await Lab.open()
  node = await lab.node('one')
  caller = await node.pod('caller')
  server = await node.pod('server')
  lab.config.write('pods.yaml', [podResource(caller), podResource(server)])
  const address = join(lab.directory, 'notify')
  manager = await node.run(programs.notifyReceiver(address), { waitFor: 'bound' })
  agent = await lab.agent(node, { service: 'weft.service', env: { NOTIFY_SOCKET: address } })
  await serve(server, programs.server('echo', ECHO))
})

test.after.always(() => lab?.close())

const messages = (): string[] =>
  manager.stdout.split('\n').filter((line) => !['', 'bound', 'BARRIER=1'].includes(line))

function said(message: string, times = 1): Promise<unknown> {
  return manager.waitFor(new RegExp(`(^${RegExp.escape(message)}$[^]*){${times}}`, 'm'))
}

test.serial('stays in the cgroup it was started in, and is exempt there', async (t) => {
  const own = readFileSync(`/proc/${agent.pid}/cgroup`, 'utf8')
  t.regex(own, /^0::.*\/one\/agent\/weft\.service$/m)
  await agent.waitEnrolled(caller)
  await agent.waitEnrolled(server)
  t.like(await call(caller, programs.client('echo', server.ip, ECHO)), { ok: true })
})

test.serial(
  'is ready once the programs are in force, and says how many workloads it has',
  async (t) => {
    await said('READY=1')
    t.true(existsSync(join(agent.pins, 'links', 'weft_connect4')))
    t.true(agent.logLines().some(({ event }) => event === 'config.applied'))
    await manager.waitFor(/^STATUS=2 workloads enrolled, configuration \d+$/m)
    t.is(messages().filter((line) => line === 'READY=1').length, 1)
  },
)

test.serial('a reload begins and ends', async (t) => {
  agent.program.kill('SIGHUP')
  await said('RELOADING=1')
  await said('READY=1', 2)
  const order = messages().filter((line) => /^(READY|RELOADING)/.test(line))
  t.deepEqual(order, ['READY=1', 'RELOADING=1', 'READY=1'])
})

test.serial(
  'SIGTERM is told as stopping, and leaves programs pinned and no cgroup of its own',
  async (t) => {
    const exit = await agent.stop()
    t.is(exit?.code, 0)
    await said('STOPPING=1|STATUS=stopping')
    t.true(existsSync(join(agent.pins, 'links', 'weft_connect4')))
    const left = readdirSync(node.agentCgroup, { withFileTypes: true })
    t.deepEqual(
      left.filter((each) => each.isDirectory()).map(({ name }) => name),
      ['weft.service'],
    )
    t.like(
      await call(
        { exec: (argv) => caller.exec(argv, { check: false }) },
        programs.client('echo', server.ip, ECHO),
      ),
      {
        ok: false,
        error: 'ECONNREFUSED',
      },
    )
  },
)
