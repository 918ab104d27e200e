// Workloads that share the node's network: known by cgroup, told apart by port.
import test from 'ava'
import type { HostService } from '../lab/host-service.ts'
import { client, server } from '../lab/programs.ts'
import { Stage } from './stage.ts'

const OUTSIDE = '198.51.100.1'

let stage: Stage

interface Report {
  readonly ok: boolean
  readonly error?: string
  readonly banner?: string
}

interface Answer {
  readonly name: string
  readonly class: string
  readonly workload: number
  readonly local: string
}

test.before(async () => {
  stage = await Stage.open()
  await stage.begin()
})

test.after.always(() => stage?.close())

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await stage.explain())
})

async function ask(
  who: { exec: HostService['exec'] },
  host: string,
  port: number,
): Promise<Partial<Answer> & { error?: string }> {
  const { stdout } = await who.exec(client('banner', host, port), { check: false })
  const report = JSON.parse(stdout) as Report
  return report.banner === undefined ? { error: report.error ?? '' } : JSON.parse(report.banner)
}

test.serial('its connections are captured, with what they asked for', async (t) => {
  const web = stage.node.service('web')
  const { number } = await stage.driver.call<{ number: number }>('enrolHost', {
    uid: 'web',
    cgroup: web.cgroup,
    addresses: [stage.node.ip],
    ports: [],
  })
  const answer = await ask(web, OUTSIDE, 80)
  t.is(answer.name, `${OUTSIDE}:80`)
  t.is(answer.class, 'outbound')
  t.is(answer.workload, number)
  const program = await web.run(server('identity', 7100, { name: 'web' }), { waitFor: 'listening' })
  const inbound = await ask(stage.node, stage.node.ip, 7100)
  t.is(inbound.class, 'plaintext')
  t.is(inbound.workload, number)
  t.is((await ask(web, stage.node.ip, 7100)).name, 'web')
  t.is((await ask(web, '127.0.0.1', 7100)).name, 'web')
  t.is((await ask(web, '::1', 7100)).name, 'web')
  t.log(await stage.driver.call('hostPorts'))
  program.kill()
})
