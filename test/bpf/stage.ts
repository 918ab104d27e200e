// A node with a driver in place of an agent, for tests of the datapath alone.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { KernelForms } from '../../src/kernel/capability.ts'
import type { DatapathPaths, DatapathSettings } from '../../src/kernel/datapath.ts'
import type { WantedMaps } from '../../src/model/wanted-maps.ts'
import { Lab } from '../lab/lab.ts'
import type { Node } from '../lab/node.ts'
import type { Pod } from '../lab/pod.ts'
import type { Program } from '../lab/program.ts'

const DRIVER = fileURLToPath(new URL('driver.ts', import.meta.url))
const CALL_TIMEOUT_MS = 30_000

export const SETTINGS: DatapathSettings = {
  unknown: 'refuse',
  directPath: true,
  dns: true,
  workers: 4,
}

/** What kernels before 6.5 and 6.6 need; this one takes it too. */
export const OLDER_FORMS: KernelForms = { guard: 'clsact', end: 'inet_diag' }

interface Reply {
  readonly id: number
  readonly result?: unknown
  readonly error?: string
}

/** The driver's process and a typed way to call it. */
export class Driver {
  readonly program: Program
  #next = 1

  constructor(program: Program) {
    this.program = program
  }

  async call<T = unknown>(call: string, input: unknown = null): Promise<T> {
    const id = this.#next++
    this.program.write(`${JSON.stringify({ id, call, input })}\n`)
    const line = await this.program.waitFor(new RegExp(`^reply \\{"id":${id},.*\\n`, 'm'), {
      timeoutMs: CALL_TIMEOUT_MS,
      everyMs: 3,
    })
    const reply = JSON.parse(line.slice('reply '.length)) as Reply
    if (reply.error !== undefined) throw new Error(`${call}: ${reply.error}`)
    return reply.result as T
  }

  counters(): Promise<Record<string, number>> {
    return this.call('counters')
  }

  enrol(
    pod: Pod,
  ): Promise<{ cookie: string; number: number; listeners: { worker: number; fd: number }[] }> {
    return this.call('enrol', { uid: pod.name, netns: pod.netns, addresses: pod.addresses })
  }
}

export class Stage implements AsyncDisposable {
  readonly lab: Lab
  readonly node: Node
  readonly paths: DatapathPaths
  readonly #forms: Partial<KernelForms>
  driver: Driver

  private constructor(
    lab: Lab,
    node: Node,
    { paths, forms }: { paths: DatapathPaths; forms: Partial<KernelForms> },
    driver: Driver,
  ) {
    this.lab = lab
    this.node = node
    this.paths = paths
    this.#forms = forms
    this.driver = driver
  }

  static async open(forms: Partial<KernelForms> = {}): Promise<Stage> {
    const lab = await Lab.open()
    const node = await lab.node('n1')
    const paths = {
      pins: join('/sys/fs/bpf', `${lab.prefix}-n1`),
      agentCgroup: node.agentCgroup,
      workloadsCgroup: node.podsCgroup,
      stateDirectory: join(lab.directory, 'state'),
    }
    mkdirSync(paths.stateDirectory, { recursive: true })
    return new Stage(lab, node, { paths, forms }, await startDriver(node, paths, forms))
  }

  /** A driver that has started and is configured. */
  async begin(settings: Partial<DatapathSettings> = {}): Promise<void> {
    await this.driver.call('start')
    await this.driver.call('configure', { ...SETTINGS, ...settings })
  }

  /** A pod that is enrolled. */
  async pod(name: string, options: Parameters<Node['pod']>[1] = {}): Promise<Pod> {
    const pod = await this.node.pod(name, options)
    await this.driver.enrol(pod)
    return pod
  }

  /** A new driver after the old one was killed or stopped. */
  async replaceDriver(): Promise<void> {
    this.driver.program.kill()
    await this.driver.program.exited
    this.driver = await startDriver(this.node, this.paths, this.#forms)
  }

  /** What the kernel counted and the driver logged, for a test that failed. */
  async explain(): Promise<string> {
    if (!this.driver.program.isRunning) return this.driver.program.describe()
    const [counters, log, sizes] = await Promise.all([
      this.driver.counters(),
      this.driver.call('log'),
      this.driver.call('mapSize', 'weft_attest'),
    ])
    return JSON.stringify({ counters, log, attested: sizes })
  }

  async close(): Promise<void> {
    try {
      if (this.driver.program.isRunning) await this.driver.call('stop', 'remove')
    } finally {
      this.driver.program.kill()
      await this.driver.program.exited
      await this.lab.close()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

async function startDriver(
  node: Node,
  paths: DatapathPaths,
  forms: Partial<KernelForms>,
): Promise<Driver> {
  const argv = [process.execPath, DRIVER, JSON.stringify(paths), JSON.stringify(forms)]
  const program = await node.run(argv, {
    cgroup: join(node.agentCgroup, 'driver'),
    env: { NODE_NO_WARNINGS: '1' },
    waitFor: 'driver ready',
  })
  return new Driver(program)
}

/** Connections to `server` on `port` go direct when `verdict` says so. */
export function directTo(
  server: Pod,
  port: number,
  verdicts: WantedMaps['verdicts'],
  version = 1,
  vip?: { readonly ip: string; readonly port: number },
): WantedMaps {
  const backends = (ip: string) => [{ ip, port, workload: server.name }]
  return {
    version,
    services: [
      ...server.addresses.map((ip) => ({
        ip,
        port,
        protocol: 'tcp' as const,
        backends: backends(ip),
      })),
      ...(vip === undefined
        ? []
        : [{ ...vip, protocol: 'tcp' as const, backends: backends(server.ip) }]),
    ],
    verdicts,
  }
}
