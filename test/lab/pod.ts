// A pod of the lab: a network namespace and a cgroup, kept alive by a process that only sleeps,
// as containers of one pod are.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { cgroupPids, killCgroup, makeCgroup, removeCgroup } from './cgroups.ts'
import { makePod, type PodWiring, removeNamespace, sysctls } from './network.ts'
import { execIn, type Place, type Program, type RunOptions, runIn } from './program.ts'
import { type CommandResult, type ExecOptions, script } from './shell.ts'
import { waitUntil } from './wait.ts'

export interface PodOptions {
  /** Of the mesh; default `default`. */
  readonly namespace?: string
  /** Default: the pod's name. */
  readonly serviceAccount?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  /** false: without the family; a text: this address instead of the next free one. */
  readonly v4?: boolean | string
  readonly v6?: boolean | string
  /** Settings of the pod's namespace, e.g. `net.ipv4.tcp_syncookies`. */
  readonly sysctls?: Readonly<Record<string, string>>
  /** false: no sleeping process, so that the cgroup is empty between programs. */
  readonly pause?: boolean
}

/** What a pod needs to know of its node. */
export interface PodSite {
  readonly node: string
  /** cgroup of processes that are on the node but in no pod. */
  readonly otherCgroup: string
  readonly wiring: PodWiring
  readonly cgroup: string
}

export interface PodRunOptions extends RunOptions {
  /** A cgroup below the pod's own (made if absent), as runtimes make for containers. */
  readonly container?: string
  /** Runs in the pod's network but outside its cgroup, as an intruder would. */
  readonly outsideCgroup?: boolean
}

export class Pod {
  readonly name: string
  readonly node: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly v4: string | undefined
  readonly v6: string | undefined
  readonly cgroup: string
  /** Name of the network namespace, as in `ip netns`. */
  readonly netns: string
  readonly #site: PodSite
  readonly #options: PodOptions
  #pause: Program | undefined

  constructor(site: PodSite, name: string, options: PodOptions) {
    this.#site = site
    this.#options = options
    this.name = name
    this.node = site.node
    this.namespace = options.namespace ?? 'default'
    this.serviceAccount = options.serviceAccount ?? name
    this.labels = options.labels ?? { app: name }
    this.annotations = options.annotations ?? {}
    this.v4 = site.wiring.v4
    this.v6 = site.wiring.v6
    this.cgroup = site.cgroup
    this.netns = site.wiring.namespace
  }

  /** IPv4 if the pod has it, else IPv6. */
  get ip(): string {
    const address = this.v4 ?? this.v6
    if (address === undefined) throw new Error(`pod ${this.name} has no address`)
    return address
  }

  get addresses(): readonly string[] {
    return [this.v4, this.v6].filter((address) => address !== undefined)
  }

  async start(): Promise<void> {
    await makePod(this.#site.wiring)
    makeCgroup(this.cgroup)
    if (this.#options.pause === false) return
    // What it says proves that it has joined cgroup and namespace.
    this.#pause = await this.run(['sh', '-c', 'echo up; exec sleep infinity'], { waitFor: 'up' })
  }

  /** Starts an unmodified program in the pod. */
  async run(argv: readonly string[], options: PodRunOptions = {}): Promise<Program> {
    return runIn(this.#place(options), argv, options)
  }

  /** Runs a short command in the pod; rejects if it fails, unless `check` is false. */
  exec(argv: readonly string[], options: ExecOptions & PodRunOptions = {}): Promise<CommandResult> {
    return execIn(this.#place(options), argv, options)
  }

  /** Resolves once somebody in the pod listens on the TCP port. */
  async waitForPort(port: number): Promise<void> {
    await waitUntil(() => this.#isListening(port), `a listener on port ${port} of ${this.name}`)
  }

  async setSysctls(values: Readonly<Record<string, string | number>>): Promise<void> {
    await script(sysctls(this.netns, values))
  }

  /** Kills its processes and removes namespace and cgroup, as when a pod is deleted. */
  async remove(): Promise<void> {
    killCgroup(this.cgroup)
    await this.#pause?.exited
    await removeNamespace(this.netns)
    removeCgroup(this.cgroup)
  }

  #place(options: PodRunOptions): Place {
    const own = options.container === undefined ? this.cgroup : join(this.cgroup, options.container)
    const cgroup = options.outsideCgroup === true ? this.#site.otherCgroup : makeCgroup(own)
    return { namespace: this.netns, cgroup }
  }

  #isListening(port: number): boolean {
    const [pid] = cgroupPids(this.cgroup)
    if (pid === undefined) return false
    const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
    return ['tcp', 'tcp6'].some((table) =>
      readFileSync(`/proc/${pid}/net/${table}`, 'utf8')
        .split('\n')
        .some((line) => {
          const [, local = '', , state] = line.trim().split(/\s+/)
          return state === '0A' && local.endsWith(wanted)
        }),
    )
  }
}
