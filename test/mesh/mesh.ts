// A mesh of the lab: two nodes with an agent each, pods that are enrolled, and the questions that
// tests ask of a connection: what its programs saw, and what the access logs say.
import type { AccessEntry } from '../../src/model/access-entry.ts'
import type { Agent, AgentOptions } from '../lab/agent.ts'
import type { HostService, HostServiceOptions } from '../lab/host-service.ts'
import { Lab } from '../lab/lab.ts'
import { hostResource, podResource, type Resource, service } from '../lab/mesh-config.ts'
import type { Node } from '../lab/node.ts'
import type { Pod, PodOptions } from '../lab/pod.ts'
import type { Program } from '../lab/program.ts'
import { hold, LISTENING } from '../lab/programs.ts'

/** What the lab's clients report. */
export interface Report {
  readonly ok: boolean
  readonly error?: string
  readonly banner?: string
  readonly local?: readonly [string, number]
  readonly peer?: readonly [string, number]
}

/** What `identity` servers answer. */
export interface Seen {
  readonly name: string
  readonly local: { readonly ip: string; readonly port: number }
  readonly remote: { readonly ip: string; readonly port: number }
}

/** A workload of the lab. */
export type Member = Pick<Pod, 'name' | 'namespace' | 'node'>

export interface MeshOptions {
  readonly agents?: AgentOptions
}

export class Mesh implements AsyncDisposable {
  readonly lab: Lab
  readonly one: Node
  readonly two: Node
  readonly #options: MeshOptions
  readonly #hosts: HostService[] = []
  readonly #vips = new Map<string, { readonly v4: string; readonly v6: string }>()
  #agents: [Agent, Agent] | undefined

  private constructor(lab: Lab, one: Node, two: Node, options: MeshOptions) {
    this.lab = lab
    this.one = one
    this.two = two
    this.#options = options
  }

  static async open(options: MeshOptions = {}): Promise<Mesh> {
    const lab = await Lab.open()
    return new Mesh(lab, await lab.node('one'), await lab.node('two'), options)
  }

  /** Of nodes one and two. */
  get agents(): readonly [Agent, Agent] {
    if (this.#agents === undefined) throw new Error('start() must come first')
    return this.#agents
  }

  /** Makes a pod and its Pod resource. */
  async pod(node: Node, name: string, options: PodOptions = {}): Promise<Pod> {
    const pod = await node.pod(name, options)
    this.lab.config.write(`pod-${pod.namespace}-${name}.yaml`, [podResource(pod)])
    return pod
  }

  /**
   * A service with a virtual address of each family, whose port `servicePort(n)` leads to port n.
   * Undeclared ports take the agent; those declared TCP may be completed by the kernel.
   */
  service(
    name: string,
    selector: Readonly<Record<string, string>>,
    targetPorts: readonly number[],
    protocol?: 'tcp',
  ): Resource {
    const address = this.lab.virtualAddress()
    this.#vips.set(name, address)
    return service(name, {
      selector,
      clusterIPs: [address.v4, address.v6],
      ports: targetPorts.map((targetPort) => ({
        name: `p${targetPort}`,
        port: servicePort(targetPort),
        targetPort,
        ...(protocol === undefined ? {} : { appProtocol: protocol }),
      })),
    })
  }

  vip(name: string): { readonly v4: string; readonly v6: string } {
    const address = this.#vips.get(name)
    if (address === undefined) throw new Error(`no service ${name}`)
    return address
  }

  /** Makes a service of a node, and the WorkloadEntry that brings it into the mesh. */
  host(node: Node, name: string, options: HostServiceOptions = {}): HostService {
    const host = node.service(name, options)
    this.lab.config.write(`host-${host.namespace}-${name}.yaml`, [hostResource(host)])
    this.#hosts.push(host)
    return host
  }

  /** Starts both agents and waits until every workload is enrolled. */
  async start(): Promise<void> {
    const one = await this.lab.agent(this.one, this.#options.agents)
    const two = await this.lab.agent(this.two, this.#options.agents)
    this.#agents = [one, two]
    await this.enrolled(...this.one.pods, ...this.two.pods, ...this.#hosts)
  }

  async enrolled(...members: readonly Member[]): Promise<void> {
    for (const member of members) await this.agentOf(member).waitEnrolled(member)
  }

  agentOf(pod: Member): Agent {
    const [one, two] = this.agents
    return pod.node === this.one.name ? one : two
  }

  /** Writes a file of resources and waits until it is in force on both nodes. */
  async apply(file: string, resources: readonly Resource[]): Promise<void> {
    await this.#changed(() => this.lab.config.write(file, resources))
  }

  async remove(file: string): Promise<void> {
    await this.#changed(() => this.lab.config.remove(file))
  }

  async #changed(change: () => void): Promise<void> {
    const applied = (agent: Agent) =>
      agent.logLines().filter(({ event }) => event === 'config.applied').length
    const before = this.agents.map(applied)
    change()
    await this.lab.waitUntil(
      () => this.agents.every((agent, at) => applied(agent) > (before[at] ?? 0)),
      'the configuration to be applied by both agents',
    )
  }

  /** Access-log entries of both nodes so far. */
  entries(matches: (entry: AccessEntry) => boolean = () => true): AccessEntry[] {
    return this.agents.flatMap((agent) => agent.accessLog()).filter(matches)
  }

  /** Resolves with the entries once there are as many. */
  async waitForEntries(
    matches: (entry: AccessEntry) => boolean,
    count: number,
    what: string,
  ): Promise<AccessEntry[]> {
    return this.lab.waitUntil(() => {
      const found = this.entries(matches)
      return found.length >= count ? found : undefined
    }, `${count} entries of ${what}`)
  }

  /** The entry that the caller's side wrote of a connection. */
  async outbound(report: Report): Promise<AccessEntry> {
    const [ip, port] = report.local ?? ['', 0]
    const [entry] = await this.waitForEntries(
      ({ direction, source }) =>
        direction === 'outbound' && source.ip === plainIp(ip) && source.port === port,
      1,
      `the connection from ${ip} port ${port}`,
    )
    if (entry === undefined) throw new Error('unreachable')
    return entry
  }

  async close(): Promise<void> {
    await this.lab.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** Runs a client of the lab to its end. */
export async function call(
  from: { exec: (argv: readonly string[]) => Promise<{ readonly stdout: string }> },
  argv: readonly string[],
): Promise<Report> {
  const { stdout } = await from.exec(argv)
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Report
}

/** What an `identity` server told the client that reported this. */
export function seenBy(report: Report): Seen {
  return JSON.parse(report.banner ?? 'null') as Seen
}

/** Open connections to an echo server, which can be asked whether they still work. */
export class Held {
  readonly program: Program
  #rounds = 0

  private constructor(program: Program) {
    this.program = program
  }

  /** Resolves when all are open. */
  static async open(
    from: Pick<Pod, 'run'>,
    host: string,
    port: number,
    count: number,
  ): Promise<Held> {
    return new Held(await from.run(hold(host, port, count), { waitFor: `held ${count}` }))
  }

  /** Sends on every connection and says how many were answered rightly, and how many ended as if
   * the server had finished. */
  async use(): Promise<{ readonly ok: number; readonly failed: number; readonly ended: number }> {
    this.#rounds++
    this.program.write('\n')
    const line = await this.program.waitFor(new RegExp(`{"round":${this.#rounds},.*}`), {
      timeoutMs: 30_000,
    })
    return { ended: 0, ...JSON.parse(line) }
  }

  async close(): Promise<void> {
    this.program.endInput()
    await this.program.finish()
  }
}

/** Starts servers and resolves when all of them listen. */
export function serve(
  pod: Pick<Pod | HostService, 'run'>,
  ...servers: readonly string[][]
): Promise<Program[]> {
  return Promise.all(servers.map((argv) => pod.run(argv, { waitFor: LISTENING })))
}

/** Another than the target port, so that neither can be taken for the other. */
export function servicePort(targetPort: number): number {
  return targetPort - 1_000
}

/** As policies name it. */
export function principal(pod: Pick<Pod, 'namespace' | 'serviceAccount'>): string {
  return spiffe(pod).slice('spiffe://'.length)
}

export function spiffe(pod: Pick<Pod, 'namespace' | 'serviceAccount'>): string {
  return `spiffe://cluster.local/ns/${pod.namespace}/sa/${pod.serviceAccount}`
}

/** Without the prefix that dual-stack sockets put before IPv4. */
export function plainIp(ip: string): string {
  return ip.replace(/^::ffff:/, '')
}
