// A container of the lab, started by a real OCI runtime from a bundle made by hand: a root file
// system of one static busybox, and a network namespace that the lab made, as container managers do.
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { cgroup2Root, cgroupLayout } from './cgroups.ts'
import type { Node } from './node.ts'
import type { Pod } from './pod.ts'
import type { Program } from './program.ts'
import type { CommandResult, ExecOptions } from './shell.ts'

export type OciRuntime = 'runc' | 'crun'

export interface ContainerSite {
  readonly node: Node
  /** Its network: made as for a pod, with eth0 and addresses. */
  readonly network: Pod
  /** Directory for the bundle, which must not exist. */
  readonly directory: string
}

export interface ContainerOptions {
  readonly runtime: OciRuntime
  /** Unique on the machine, because the runtimes' state is. */
  readonly id: string
  /** Its cgroup, below the one that the node's agent watches. */
  readonly cgroup: string
  /** What its shell runs; busybox has its tools. */
  readonly script: string
}

const BUSYBOX = '/bin/busybox'

// crun refuses a host that has both versions of cgroups, and runc would use the old. They are shown
// what every host of today has at this place.
const UNIFIED = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'

export class Container {
  readonly id: string
  readonly #site: ContainerSite
  readonly #options: ContainerOptions
  #program: Program | undefined

  constructor(site: ContainerSite, options: ContainerOptions) {
    this.id = options.id
    this.#site = site
    this.#options = options
  }

  /** What it has said so far. */
  get output(): string {
    return this.#program?.stdout ?? ''
  }

  /** Resolves when its script says `up`. */
  async start(): Promise<void> {
    this.#makeBundle()
    const run = ['run', '--bundle', this.#site.directory, this.id]
    this.#program = await this.#site.node.run(this.#command(run), { waitFor: 'up' })
  }

  /** Runs a command inside, as `docker exec` does. */
  exec(argv: readonly string[], options: ExecOptions = {}): Promise<CommandResult> {
    return this.#site.node.exec(this.#command(['exec', this.id, ...argv]), options)
  }

  /** Kills it; resolves when the runtime has removed what it knew of it. */
  async kill(): Promise<void> {
    await this.#site.node.exec(this.#command(['kill', this.id, 'KILL']))
    await this.#program?.exited
  }

  #command(args: readonly string[]): string[] {
    const command = [this.#options.runtime, ...args]
    if (cgroupLayout() === 'unified') return command
    return ['unshare', '-m', 'sh', '-c', UNIFIED, 'unified', ...command]
  }

  #makeBundle(): void {
    const { directory } = this.#site
    const bin = join(directory, 'rootfs', 'bin')
    for (const name of ['bin', 'dev', 'proc']) {
      mkdirSync(join(directory, 'rootfs', name), { recursive: true })
    }
    copyFileSync(BUSYBOX, join(bin, 'busybox'))
    for (const tool of ['sh', 'nc', 'sleep', 'cat', 'echo']) symlinkSync('busybox', join(bin, tool))
    writeFileSync(join(directory, 'config.json'), JSON.stringify(this.#specification()))
  }

  /** Source: OCI runtime specification 1.0, "Configuration" and "Linux Container Configuration". */
  #specification() {
    const { node, network } = this.#site
    const { cgroup, script } = this.#options
    const namespaces = ['pid', 'mount', 'ipc', 'uts', 'cgroup'].map((type) => ({ type }))
    return {
      ociVersion: '1.0.2',
      process: {
        user: { uid: 0, gid: 0 },
        args: ['/bin/sh', '-c', script],
        env: ['PATH=/bin'],
        cwd: '/',
        capabilities: { bounding: [], effective: [], permitted: [] },
        noNewPrivileges: true,
      },
      root: { path: 'rootfs', readonly: true },
      hostname: 'container',
      mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
      linux: {
        cgroupsPath: `/${relative(cgroup2Root(), join(node.podsCgroup, cgroup))}`,
        namespaces: [...namespaces, { type: 'network', path: `/run/netns/${network.netns}` }],
      },
    }
  }
}
