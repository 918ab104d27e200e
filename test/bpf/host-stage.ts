// Host-network workloads on a stage: enrolled through the driver, their programs in cgroups.
import type { HostPort } from '../../src/kernel/datapath.ts'
import type { HostService } from '../lab/host-service.ts'
import type { Program } from '../lab/program.ts'
import { client, listeners } from '../lab/programs.ts'
import type { ExecOptions } from '../lab/shell.ts'
import { waitUntil } from '../lab/wait.ts'
import type { Stage } from './stage.ts'

/** Who answered, or the error in place of an answer. */
export interface Answer {
  readonly name?: string
  /** Of the agent's listener; undefined when the program itself answered. */
  readonly class?: string
  /** The caller's number, or the number of the one that was meant. */
  readonly workload?: number
  readonly local?: string
  readonly error?: string
}

export interface Caller {
  exec(argv: readonly string[], options?: ExecOptions): Promise<{ readonly stdout: string }>
}

export async function ask(
  who: Caller,
  host: string,
  port: number,
  options: Parameters<typeof client>[3] = {},
): Promise<Answer> {
  const argv = client('banner', host, port, { timeoutSeconds: 3, ...options })
  const { stdout } = await who.exec(argv, { check: false })
  const report = JSON.parse(stdout) as { readonly banner?: string; readonly error?: string }
  if (report.banner === undefined) return { error: report.error ?? '' }
  return JSON.parse(report.banner) as Answer
}

/** The class of the agent's listener that answered, or the program's name, or the error. */
export async function answererOf(...question: Parameters<typeof ask>): Promise<string> {
  const { class: kind, name, error } = await ask(...question)
  return error ?? kind ?? name ?? ''
}

/** Enrols a service of the node; returns the workload's number. */
export async function enrolHost(
  stage: Stage,
  service: HostService,
  options: { readonly ports?: readonly number[]; readonly cgroup?: string } = {},
): Promise<number> {
  const { number } = await stage.driver.call<{ number: number }>('enrolHost', {
    uid: service.name,
    cgroup: options.cgroup ?? service.cgroup,
    addresses: [stage.node.addresses.v4, stage.node.addresses.v6],
    ports: options.ports ?? [],
  })
  return number
}

/** A program that opens and closes listeners as told. */
export class Doorman {
  readonly program: Program
  #keys = 0

  private constructor(program: Program) {
    this.program = program
  }

  static async start(service: Pick<HostService, 'run'>, name: string): Promise<Doorman> {
    return new Doorman(await service.run(listeners(name), { waitFor: 'ready' }))
  }

  /** Returns what `close` wants. */
  async open(host: string, port: number, ...flags: string[]): Promise<string> {
    const key = `k${++this.#keys}`
    await this.#tell('open', key, [host, String(port), ...flags])
    return key
  }

  close(key: string): Promise<void> {
    return this.#tell('close', key)
  }

  async #tell(command: string, key: string, rest: readonly string[] = []): Promise<void> {
    this.program.write(`${[command, key, ...rest].join(' ')}\n`)
    const said = await this.program.waitFor(new RegExp(`(done|failed) ${command} ${key}\\b.*\n`))
    if (said.startsWith('failed')) throw new Error(`${rest.join(' ')}: ${said}`)
  }
}

/** `uid ip:port` of the node's ports, with a `?` where only the configuration names them. */
export async function portsOf(stage: Stage): Promise<string[]> {
  const ports = await stage.driver.call<HostPort[]>('hostPorts')
  return ports.map(({ uid, ip, port, listening }) => `${uid} ${ip} ${port}${listening ? '' : '?'}`)
}

export async function waitForPorts(stage: Stage, wanted: readonly string[]): Promise<void> {
  await waitUntil(
    async () => JSON.stringify(await portsOf(stage)) === JSON.stringify(wanted),
    `the ports ${wanted.join(', ')}`,
  )
}
