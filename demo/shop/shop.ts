// Runs the shop: a `weft up` on every node, and every program by `weft run`, as a user would.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { AccessEntry } from '../../src/model/access-entry.ts'
import type { Lab } from '../../test/lab/lab.ts'
import type { Node } from '../../test/lab/node.ts'
import type { Program } from '../../test/lab/program.ts'
import { type Call, parseCalls } from '../report.ts'
import { CALLS, MEMBERS, type Member, type NodeName } from './topology.ts'

const WEFT = fileURLToPath(new URL('../../bin/weft.mjs', import.meta.url))
const PROGRAMS = fileURLToPath(new URL('programs', import.meta.url))
const CONFIG = fileURLToPath(new URL('config', import.meta.url))
const POOLS: Readonly<Record<NodeName, string>> = { one: '10.44.1.0/24', two: '10.44.2.0/24' }

export class Shop {
  readonly #lab: Lab
  /** Appears in every request and answer; must not be readable between the nodes. */
  readonly #secret: string
  readonly #directory: string
  readonly #nodes = new Map<NodeName, Node>()
  readonly #agents: Program[] = []
  readonly #programs: Program[] = []

  constructor(lab: Lab, secret: string) {
    this.#lab = lab
    this.#secret = secret
    this.#directory = join(lab.directory, 'shop')
  }

  async start(): Promise<void> {
    cpSync(CONFIG, join(this.#directory, 'config'), { recursive: true })
    await this.#makeNodes()
    for (const name of this.#nodes.keys()) await this.#startAgent(name)
    for (const member of MEMBERS) {
      if (member.name !== 'shopper') await this.#run(member, this.#command(member), 'serves')
    }
  }

  /** Lets the shopper buy; resolves when done. Every edge carries at least `count` requests. */
  async buy(count: number, name = 'shopper'): Promise<void> {
    const shopper: Member = { name, node: 'one', app: 'shopper' }
    const command = ['sh', join(PROGRAMS, 'shopper.sh'), CALLS.web, String(count)]
    const program = await this.#run(shopper, command)
    await program.finish(120_000)
  }

  calls(): readonly Call[] {
    const said = this.#programs.flatMap((program) => parseCalls(program.stdout))
    return [...said, ...parseCalls(readIfThere(join(this.#directory, 'web', 'edges.log')))]
  }

  accessLog(): readonly AccessEntry[] {
    return [...this.#nodes.keys()].flatMap((name) =>
      readIfThere(this.#accessLogFile(name))
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as AccessEntry),
    )
  }

  /** State directories of the agents. */
  states(): readonly string[] {
    return [...this.#nodes.keys()].map((name) => this.#state(name))
  }

  said(): string {
    return this.#agents.map((each) => each.stderr.slice(-6000)).join('\n-----\n')
  }

  /** Ends the programs, then the agents, in the order an operator would. */
  async stop(): Promise<void> {
    for (const program of this.#programs.reverse()) program.kill('SIGTERM')
    await Promise.all(this.#programs.map((program) => program.exited))
    for (const agent of this.#agents) agent.kill('SIGINT')
    await Promise.all(this.#agents.map((agent) => agent.exited))
  }

  async #makeNodes(): Promise<void> {
    for (const name of ['one', 'two'] as const) this.#nodes.set(name, await this.#lab.node(name))
    for (const [name, node] of this.#nodes) {
      for (const [other, peer] of this.#nodes) {
        if (other !== name) await node.exec(['ip', 'route', 'add', POOLS[other], 'via', peer.ip])
      }
    }
  }

  async #startAgent(name: NodeName): Promise<void> {
    const node = this.#node(name)
    mkdirSync(this.#state(name), { recursive: true })
    const paths = [
      '--cgroup',
      node.agentCgroup,
      '--pins',
      `/sys/fs/bpf/${this.#lab.prefix}-${name}`,
    ]
    const log = ['--access-log', this.#accessLogFile(name), '--workers', '2']
    const agent = await node.run(
      [process.execPath, WEFT, 'up', ...this.#common(name), ...paths, ...log],
      { waitFor: 'agent.ready', timeoutMs: 60_000 },
    )
    this.#agents.push(agent)
  }

  async #run(member: Member, command: readonly string[], waitFor?: string): Promise<Program> {
    const node = this.#node(member.node)
    const who = ['--namespace', 'shop', '--name', member.name, '--service-account', member.app]
    const where = ['--pool', POOLS[member.node], '--label', `app=${member.app}`]
    const netns = ['--netns', `${this.#lab.prefix}-${member.node}-${member.name}`]
    const run = [
      process.execPath,
      WEFT,
      'run',
      ...this.#common(member.node),
      ...who,
      ...where,
      ...netns,
    ]
    const options = waitFor === undefined ? {} : { waitFor, timeoutMs: 60_000 }
    const program = await node.run([...run, '--', ...command], options)
    this.#programs.push(program)
    return program
  }

  #command(member: Member): readonly string[] {
    switch (member.name) {
      case 'stock': {
        // socat would take spaces in the path of the clone for ends of words.
        const serve =
          'cd "$1" && echo stock serves && exec socat ' +
          'TCP6-LISTEN:7000,ipv6only=0,fork,reuseaddr,backlog=256 EXEC:./stock.sh'
        return ['sh', '-c', serve, 'stock', PROGRAMS]
      }
      case 'catalog':
        return ['node', join(PROGRAMS, 'catalog.mjs'), '3000', CALLS.stock, this.#secret]
      case 'cart':
        return ['python3', join(PROGRAMS, 'cart.py'), '5000', CALLS.stock, this.#secret]
      default:
        return ['sh', '-c', `echo web serves; exec nginx -c ${this.#nginxConfig()}`]
    }
  }

  #nginxConfig(): string {
    const directory = join(this.#directory, 'web')
    mkdirSync(directory, { recursive: true })
    const file = join(directory, 'nginx.conf')
    const text = readFileSync(join(PROGRAMS, 'web.conf'), 'utf8')
      .replaceAll('@DIRECTORY@', directory)
      .replaceAll('@CATALOG@', CALLS.catalog)
      .replaceAll('@CART@', CALLS.cart)
    writeFileSync(file, text)
    return file
  }

  #common(name: NodeName): readonly string[] {
    const node = this.#node(name)
    const config = ['--config', join(this.#directory, 'config'), '--node', name]
    return [...config, '--watch', node.podsCgroup, '--state', this.#state(name)]
  }

  #node(name: NodeName): Node {
    const node = this.#nodes.get(name)
    if (node === undefined) throw new Error(`there is no node ${name}`)
    return node
  }

  #state(name: NodeName): string {
    return join(this.#directory, `state-${name}`)
  }

  #accessLogFile(name: NodeName): string {
    return join(this.#directory, `access-${name}.log`)
  }
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
