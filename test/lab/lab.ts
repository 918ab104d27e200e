// The lab: nodes and pods from network namespaces, veth, bridges and cgroups, in which agents and
// unmodified programs run. One lab serves a whole test file; it leaves nothing behind, and removes
// what labs of dead owners left.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { virtualAddresses } from './addresses.ts'
import { Agent, type AgentOptions } from './agent.ts'
import { Capture } from './capture.ts'
import { cgroup2Root, makeCgroup } from './cgroups.ts'
import {
  claimPrefix,
  labDirectory,
  removeLeftovers,
  removeLeftoversOfTheDead,
} from './leftovers.ts'
import { MeshConfig } from './mesh-config.ts'
import { makeWire, routeBetween, setWireState, WIRE_BRIDGE, wirePort } from './network.ts'
import { Node } from './node.ts'
import { execSync } from './shell.ts'
import { type WaitOptions, waitUntil } from './wait.ts'

export interface LabOptions {
  /**
   * Where cgroup v2 is; found if absent. `mount` makes the lab mount it at a place of its own, as
   * on hosts whose layout is neither unified nor hybrid.
   */
  readonly cgroupRoot?: string | 'mount'
  /** false: the caller answers SIGINT and its like, and closes the lab; default true. */
  readonly ownSignals?: boolean
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export class Lab implements AsyncDisposable {
  readonly prefix: string
  /** Files of this lab; removed at the end. */
  readonly directory: string
  readonly cgroup: string
  /** The mesh's configuration, written to `config/` below the directory. */
  readonly config: MeshConfig
  readonly nodes: Node[] = []
  readonly agents: Agent[] = []
  readonly #wire: string
  readonly #onExit = () => removeLeftovers(this.prefix)
  readonly #onSignal = (signal: NodeJS.Signals) => {
    this.#forgetExit()
    removeLeftovers(this.prefix)
    process.kill(process.pid, signal)
  }
  #virtualCount = 0

  private constructor(prefix: string, cgroupRoot: string) {
    this.prefix = prefix
    this.directory = labDirectory(prefix)
    this.cgroup = join(cgroupRoot, prefix)
    this.config = new MeshConfig(join(this.directory, 'config'))
    this.#wire = `${prefix}-wire`
  }

  /** Opens an empty lab, after clearing away what labs of dead owners left. */
  static async open(options: LabOptions = {}): Promise<Lab> {
    removeLeftoversOfTheDead()
    const prefix = claimPrefix()
    const lab = new Lab(prefix, chooseCgroupRoot(prefix, options))
    // An uncaught exception ends the process through `exit` as well.
    process.on('exit', lab.#onExit)
    if (options.ownSignals !== false) {
      for (const signal of SIGNALS) process.on(signal, lab.#onSignal)
    }
    try {
      makeCgroup(lab.cgroup)
      await makeWire(lab.#wire)
    } catch (error) {
      await lab.close()
      throw error
    }
    return lab
  }

  /** Adds a node that reaches, and is reached by, every other. */
  async node(name: string): Promise<Node> {
    const index = this.nodes.length + 1
    const site = { prefix: this.prefix, wire: this.#wire, index, cgroup: this.cgroup }
    const node = new Node(site, name)
    await node.start()
    for (const other of this.nodes) await routeBetween(node, other)
    this.nodes.push(node)
    return node
  }

  /** The next free virtual address pair for a service. */
  virtualAddress(): { v4: string; v6: string } {
    return virtualAddresses(++this.#virtualCount)
  }

  /** Starts the agent of a node and waits until it is ready. */
  async agent(node: Node, options: AgentOptions = {}): Promise<Agent> {
    const agent = new Agent(
      {
        node,
        directory: join(this.directory, node.name),
        pins: join('/sys/fs/bpf', `${this.prefix}-${node.name}`),
        configDirectory: this.config.directory,
      },
      options,
    )
    this.agents.push(agent)
    await agent.start()
    return agent
  }

  /**
   * Records what passes on a node's port of the wire, or on the whole wire. `filter` is tcpdump's.
   * Resolves when the recording has begun.
   */
  async capture(node?: Node, filter = ''): Promise<Capture> {
    const device = node === undefined ? WIRE_BRIDGE : wirePort(node.index)
    const site = { namespace: this.#wire, cgroup: makeCgroup(join(this.cgroup, 'wire')), device }
    return Capture.start(site, this.directory, filter)
  }

  /** Cuts a node off: packets vanish in both directions, links stay up. */
  async dropLink(node: Node): Promise<void> {
    await setWireState(this.#wire, node.index, 'cut')
  }

  async restoreLink(node: Node): Promise<void> {
    await setWireState(this.#wire, node.index, 'whole')
  }

  waitUntil<T>(
    condition: () => T | Promise<T>,
    what: string,
    options?: WaitOptions,
  ): Promise<NonNullable<T>> {
    return waitUntil(condition, what, options)
  }

  /** Stops the agents in order and removes everything. */
  async close(): Promise<void> {
    await Promise.all(this.agents.map((agent) => agent.stop()))
    removeLeftovers(this.prefix)
    this.#forgetExit()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #forgetExit(): void {
    process.off('exit', this.#onExit)
    for (const signal of SIGNALS) process.off(signal, this.#onSignal)
  }
}

function chooseCgroupRoot(prefix: string, options: LabOptions): string {
  if (options.cgroupRoot !== 'mount') return options.cgroupRoot ?? cgroup2Root()
  // A dash, because the mount point itself must carry the prefix to be found after a crash.
  const point = `${labDirectory(prefix)}-cgroup`
  mkdirSync(point)
  const mounted = execSync(['mount', '-t', 'cgroup2', 'none', point])
  if (mounted.code !== 0) throw new Error(`cannot mount cgroup2 on ${point}: ${mounted.stderr}`)
  return point
}
