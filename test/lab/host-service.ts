// A service of a lab node as systemd has them: a program in a cgroup of its own in the node's own
// network namespace. Whoever restarts it gets a new cgroup of the old name.
import { dirname, relative } from 'node:path'
import { cgroup2Root, killCgroup, makeCgroup, removeCgroup } from './cgroups.ts'
import { execIn, type Place, type Program, type RunOptions, runIn } from './program.ts'
import type { CommandResult, ExecOptions } from './shell.ts'

export interface HostServiceOptions {
  /** Of the mesh; default `default`. */
  readonly namespace?: string
  /** Default: the service's name. */
  readonly serviceAccount?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  /** A slice of its own instead of the one of all services; it is made and removed with it. */
  readonly slice?: string
  /** Ports it says itself, by name. */
  readonly ports?: Readonly<Record<string, number>>
}

export interface HostServiceSite {
  readonly node: string
  /** Of the node. */
  readonly netns: string
  readonly ip: string
  readonly cgroup: string
}

interface Started {
  readonly argv: readonly string[]
  readonly options: RunOptions
  readonly program: Program
}

export class HostService {
  readonly name: string
  readonly node: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly ports: Readonly<Record<string, number>>
  /** The node's. */
  readonly ip: string
  readonly cgroup: string
  readonly #netns: string
  readonly #ownSlice: boolean
  #started: Started[] = []

  constructor(site: HostServiceSite, name: string, options: HostServiceOptions) {
    this.name = name
    this.node = site.node
    this.ip = site.ip
    this.cgroup = site.cgroup
    this.#netns = site.netns
    this.#ownSlice = options.slice !== undefined
    this.namespace = options.namespace ?? 'default'
    this.serviceAccount = options.serviceAccount ?? name
    this.labels = options.labels ?? { app: name }
    this.annotations = options.annotations ?? {}
    this.ports = options.ports ?? {}
  }

  /** As `weft.dev/cgroup` names it. */
  get cgroupPath(): string {
    return relative(cgroup2Root(), this.cgroup)
  }

  /** Starts an unmodified program of it. */
  async run(argv: readonly string[], options: RunOptions = {}): Promise<Program> {
    const program = await runIn(this.#place(), argv, options)
    this.#started.push({ argv, options, program })
    return program
  }

  /** Runs a short command in it; rejects if it fails, unless `check` is false. */
  exec(argv: readonly string[], options: ExecOptions = {}): Promise<CommandResult> {
    return execIn(this.#place(), argv, options)
  }

  /** Ends its programs; the cgroup goes with them, and a slice of its own as systemd's do. */
  async stop(): Promise<void> {
    killCgroup(this.cgroup)
    await Promise.all(this.#started.map(({ program }) => program.exited))
    this.#started = []
    removeCgroup(this.#ownSlice ? dirname(this.cgroup) : this.cgroup)
  }

  /** What runs now runs again, in a new cgroup. */
  async restart(): Promise<Program[]> {
    const before = this.#started.filter(({ program }) => program.isRunning)
    await this.stop()
    return Promise.all(before.map(({ argv, options }) => this.run(argv, options)))
  }

  #place(): Place {
    return { namespace: this.#netns, cgroup: makeCgroup(this.cgroup) }
  }
}
