// A node of the lab: a network namespace on the wire with a bridge for its pods, and a cgroup
// subtree that holds the pods', the agent's and other processes.
import { dirname, join } from 'node:path'
import { type NodeAddresses, nodeAddresses, podAddresses } from './addresses.ts'
import { makeCgroup } from './cgroups.ts'
import { HostService, type HostServiceOptions } from './host-service.ts'
import { makeNode, sysctls } from './network.ts'
import { Pod, type PodOptions } from './pod.ts'
import { execIn, type Program, type RunOptions, runIn } from './program.ts'
import { type CommandResult, type ExecOptions, script } from './shell.ts'

/** What a node needs to know of its lab. */
export interface NodeSite {
  readonly prefix: string
  readonly wire: string
  readonly index: number
  /** cgroup of the whole lab. */
  readonly cgroup: string
}

export class Node {
  readonly name: string
  readonly index: number
  readonly addresses: NodeAddresses
  /** Name of the network namespace, as in `ip netns`. */
  readonly netns: string
  /** cgroup whose children are the pods; what an agent watches. */
  readonly podsCgroup: string
  /** Stable parent cgroup of the node's agents. */
  readonly agentCgroup: string
  /** Everything else that runs on the node. */
  readonly otherCgroup: string
  /** cgroup of the node's services. */
  readonly hostCgroup: string
  readonly pods: Pod[] = []
  readonly services: HostService[] = []
  readonly #site: NodeSite

  constructor(site: NodeSite, name: string) {
    this.#site = site
    this.name = name
    this.index = site.index
    this.addresses = nodeAddresses(site.index)
    this.netns = `${site.prefix}-${name}`
    this.podsCgroup = join(site.cgroup, name, 'pods')
    this.agentCgroup = join(site.cgroup, name, 'agent')
    this.otherCgroup = join(site.cgroup, name, 'other')
    this.hostCgroup = join(site.cgroup, name, 'host')
  }

  get ip(): string {
    return this.addresses.v4
  }

  async start(): Promise<void> {
    await makeNode(this.#site.wire, this.netns, this.index, this.addresses)
    for (const path of [this.podsCgroup, this.agentCgroup, this.otherCgroup]) makeCgroup(path)
  }

  /** Makes a pod and starts its sleeping process. */
  async pod(name: string, options: PodOptions = {}): Promise<Pod> {
    const index = this.pods.length + 1
    const next = podAddresses(this.index, index)
    const address = (wanted: boolean | string | undefined, otherwise: string) => {
      if (wanted === false) return undefined
      return typeof wanted === 'string' ? wanted : otherwise
    }
    const v4 = address(options.v4, next.v4)
    const v6 = address(options.v6, next.v6)
    const pod = new Pod(
      {
        node: this.name,
        otherCgroup: this.otherCgroup,
        cgroup: join(this.podsCgroup, `${options.namespace ?? 'default'}_${name}`),
        wiring: {
          node: this.netns,
          namespace: `${this.netns}-${name}`,
          index,
          ...(v4 === undefined ? {} : { v4 }),
          ...(v6 === undefined ? {} : { v6 }),
          gateway: this.addresses,
          sysctls: options.sysctls ?? {},
        },
      },
      name,
      options,
    )
    this.pods.push(pod)
    await pod.start()
    return pod
  }

  /** A service in the node's own network, without a program or a cgroup yet. */
  service(name: string, options: HostServiceOptions = {}): HostService {
    const { slice } = options
    const above = slice === undefined ? this.hostCgroup : join(dirname(this.hostCgroup), slice)
    const cgroup = join(above, `${name}.service`)
    const site = { node: this.name, netns: this.netns, ip: this.ip, cgroup }
    const service = new HostService(site, name, options)
    this.services.push(service)
    return service
  }

  /** Starts a program on the node itself, in no pod. */
  run(argv: readonly string[], options: RunOptions & { cgroup?: string } = {}): Promise<Program> {
    const cgroup = makeCgroup(options.cgroup ?? this.otherCgroup)
    return runIn({ namespace: this.netns, cgroup }, argv, options)
  }

  /** Runs a short command on the node itself; rejects if it fails, unless `check` is false. */
  exec(
    argv: readonly string[],
    options: ExecOptions & { cgroup?: string } = {},
  ): Promise<CommandResult> {
    const cgroup = makeCgroup(options.cgroup ?? this.otherCgroup)
    return execIn({ namespace: this.netns, cgroup }, argv, options)
  }

  async setSysctls(values: Readonly<Record<string, string | number>>): Promise<void> {
    await script(sysctls(this.netns, values))
  }
}
