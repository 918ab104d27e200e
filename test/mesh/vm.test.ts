// The page about virtual machines, in the lab: its configuration as it is in the repository, with the
// lab's addresses and cgroups; nginx and curl as Debian has them.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import type { Agent, LogLine } from '../lab/agent.ts'
import { cgroup2Root } from '../lab/cgroups.ts'
import type { HostService } from '../lab/host-service.ts'
import { Lab } from '../lab/lab.ts'
import type { Node } from '../lab/node.ts'
import type { CommandResult } from '../lab/shell.ts'

const EXAMPLE = new URL('../../config/examples/vagrant/', import.meta.url)
const WEB = 'spiffe://vms.example/ns/shop/sa/web'
const SHOPPER = 'spiffe://vms.example/ns/shop/sa/shopper'

let lab: Lab
let one: Node
let two: Node
let agents: readonly [Agent, Agent]
let nginx: HostService
let shopper: HostService

test.before(async () => {
  lab = await Lab.open()
  one = await lab.node('one')
  two = await lab.node('two')
  nginx = one.service('nginx')
  shopper = two.service('shopper')
  write('mesh.yaml')
  agents = [await lab.agent(one), await lab.agent(two)]
  await nginx.run(['nginx', '-c', nginxConfiguration()])
})

test.after.always(() => lab?.close())

/** Copies a file of the example, as the page says, for both nodes at once. */
function write(name: string): void {
  const text = readFileSync(new URL(name, EXAMPLE), 'utf8')
  const node = text.includes('weft.dev/node: two') ? two : one
  lab.config.writeText(
    name,
    text
      .replaceAll('192.168.56.11', one.ip)
      .replaceAll('192.168.56.12', two.ip)
      .replaceAll('system.slice/', `${relative(cgroup2Root(), node.hostCgroup)}/`),
  )
}

function nginxConfiguration(): string {
  const directory = join(lab.directory, 'nginx')
  mkdirSync(directory)
  writeFileSync(join(directory, 'index.html'), 'a page of nginx\n')
  const file = join(directory, 'nginx.conf')
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  writeFileSync(
    file,
    `daemon off; user root; pid ${directory}/pid; error_log stderr;
    events {}
    http {
      access_log off;
      ${temporary.map((each) => `${each}_temp_path ${directory}/${each};`).join(' ')}
      server { listen 80; root ${directory}; }
    }`,
  )
  return file
}

const CURL = ['curl', '-sS', '--max-time', '5']

function asShopper(url: string): Promise<CommandResult> {
  return shopper.exec([...CURL, url], { check: false })
}

function outsideOfMesh(): Promise<CommandResult> {
  return two.exec([...CURL, `http://${one.ip}/`], { check: false })
}

async function entered(agent: Agent, name: string): Promise<void> {
  const isThis = (line: LogLine) => String(line.workload ?? '').endsWith(`/shop/${name}`)
  await agent.waitForLog((line) => line.event === 'enrolment.entered' && isThis(line), name)
}

test.serial(
  'one line of YAML brings in nginx, which runs already; who asks in plain text still may',
  async (t) => {
    await lab.waitUntil(async () => (await outsideOfMesh()).stdout === 'a page of nginx\n', 'nginx')
    write('web.yaml')
    await entered(agents[0], 'web')
    t.is((await outsideOfMesh()).stdout, 'a page of nginx\n')
  },
)

test.serial('a program of another machine calls it by name, under both identities', async (t) => {
  write('shopper.yaml')
  await entered(agents[1], 'shopper')
  await lab.waitUntil(
    () => agents[1].logLines().filter(({ event }) => event === 'config.applied').length >= 3,
    'the service on node two',
  )
  for (const host of ['web.shop', 'web', 'web.shop.svc.cluster.local']) {
    const { stdout, stderr } = await asShopper(`http://${host}/`)
    t.is(stdout, 'a page of nginx\n', stderr)
  }
  const entry = await agents[0].waitForAccess(
    ({ direction, path }) => direction === 'inbound' && path === 'tunnel',
    'the call',
  )
  t.is(entry.source.identity, SHOPPER)
  const outbound = await agents[1].waitForAccess(({ path }) => path === 'tunnel', 'the call')
  t.is(outbound.destination.identity, WEB)
})

test.serial('`weft top` shows who talks to whom', async (t) => {
  const weft = fileURLToPath(new URL('../../bin/weft.mjs', import.meta.url))
  const argv = [process.execPath, weft, 'top', '--once', '--state', agents[1].stateDirectory]
  const { stdout } = await two.exec(argv, { env: { NODE_NO_WARNINGS: '1' } })
  t.regex(stdout, /shopper.*web/)
})

test.serial('policies close the port to plain text, and leave it to the one who may', async (t) => {
  write('policies.yaml')
  await lab.waitUntil(async () => (await outsideOfMesh()).stdout === '', 'the end of plain text')
  t.is((await asShopper('http://web.shop/')).stdout, 'a page of nginx\n')
})
