// `weft run -- PROGRAM`: starts a program as a workload of the mesh: cgroup, network namespace,
// address, identity; and takes all of it away when the program ends.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { markName } from '../agent/enrolment-marks.ts'
import { machineFacts, unmetNeed } from '../agent/preflight.ts'
import { MeshError } from '../base/mesh-error.ts'
import { claimAddress, isAlive, type Pool, parsePool, releaseAddress } from './run/address-pool.ts'
import { emptyCgroup, launch, markAppears, markVanishes } from './run/launch.ts'
import {
  ensureBridge,
  makeNetwork,
  type PodNetwork,
  podNetwork,
  removeBridgeIfUnused,
  removeNetwork,
} from './run/network.ts'
import { parseServiceRequest, register, type ServiceRequest } from './run/registration.ts'

interface Flags {
  readonly config: string
  readonly node: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly name: string
  readonly label: Readonly<Record<string, string>>
  readonly service: readonly ServiceRequest[]
  readonly pool: readonly Pool[]
  readonly watch?: string
  readonly state: string
  readonly timeout: number
  readonly netns?: string
}

const DEFAULT_POOL = '10.244.0.0/24'
const NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/

export function addRunCommand(program: Command, exit: (code: number) => void): void {
  program
    .command('run')
    .description('run a program as a workload of the mesh; its exit code is the exit code')
    .requiredOption('--config <directory>', "the mesh's configuration directory")
    .requiredOption('--name <name>', 'name of the workload', parseName)
    .option('--namespace <namespace>', 'its namespace', parseName, 'default')
    .option('--service-account <account>', 'its service account', parseName, 'default')
    .option('--label <key=value>', 'a label; may be repeated', collectLabel, {})
    .option(
      '--service <name:port[:target][/protocol]>',
      'a service it is an endpoint of; may be repeated',
      collectService,
      [],
    )
    .option(
      '--pool <cidr>',
      `addresses of this node's workloads; may be repeated (default: ${DEFAULT_POOL})`,
      collectPool,
      [],
    )
    .option('--node <name>', 'name of this node in the mesh', hostname())
    .option('--watch <directory>', 'cgroup of the workloads (default: weft-workloads.slice)')
    .option('--state <directory>', "the agent's state directory", '/run/weft')
    .option('--netns <name>', 'name of its network namespace (default: weft-NODE-NAMESPACE-NAME)')
    .option('--timeout <seconds>', 'how long to wait for the agent', Number, 30)
    .argument('<command...>', 'the program and its arguments, after --')
    .passThroughOptions()
    .action(async (command: string[], flags: Flags) => exit(await runWorkload(flags, command)))
}

async function runWorkload(flags: Flags, command: readonly string[]): Promise<number> {
  const facts = machineFacts()
  const unmet = unmetNeed(facts)
  if (unmet !== undefined) throw new MeshError('run.preflight', unmet)
  const undo: (() => Promise<void> | void)[] = []
  const release = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step()
  }
  try {
    return await start(flags, command, facts.cgroup2 ?? '', undo)
  } finally {
    await release()
  }
}

async function start(
  flags: Flags,
  command: readonly string[],
  cgroup2: string,
  undo: (() => Promise<void> | void)[],
): Promise<number> {
  const id = markName(flags.namespace, flags.name)
  const state = resolve(flags.state)
  const cgroup = join(flags.watch ?? join(cgroup2, 'weft-workloads.slice'), id)
  const network = podNetwork(flags.node, flags.namespace, flags.name, flags.netns)
  const mark = join(state, 'enrolled', id)
  await claimRun(join(state, 'runs', id), network, cgroup, undo)

  const pools = flags.pool.length > 0 ? flags.pool : [defaultPool()]
  const addresses = pools.map((pool) => {
    const directory = join(state, 'addresses')
    const address = claimAddress(pool, id, directory, process.pid)
    undo.push(() => releaseAddress(directory, address))
    return { pool, address }
  })
  ensureBridge(pools)
  undo.push(removeBridgeIfUnused)
  undo.push(() => removeNetwork(network))
  makeNetwork(network, addresses)
  undo.push(() => markVanishes(mark, 5_000))
  undo.push(
    register(resolve(flags.config), {
      namespace: flags.namespace,
      name: flags.name,
      serviceAccount: flags.serviceAccount,
      labels: flags.label,
      nodeName: flags.node,
      cgroup: id,
      addresses: addresses.map(({ address }) => address),
      services: flags.service,
    }),
  )
  undo.push(() => emptyCgroup(cgroup))
  const launched = launch(network.namespace, cgroup, command)
  const forward = (signal: NodeJS.Signals): void => void launched.child.kill(signal)
  process.on('SIGTERM', forward)
  process.on('SIGINT', () => {}) // the terminal sends it to the program as well
  if (!(await markAppears(mark, launched.ended, flags.timeout * 1000))) {
    launched.child.kill('SIGKILL')
    throw new MeshError(
      'run.enrol',
      `no agent brought ${flags.namespace}/${flags.name} into the mesh within ${flags.timeout} s: ` +
        `is \`weft up --config ${flags.config} --node ${flags.node}\` running, and its log clean?`,
    )
  }
  launched.open()
  const code = await launched.ended
  process.off('SIGTERM', forward)
  return code
}

/** One process may run a workload; what an earlier one left behind is removed. */
async function claimRun(
  file: string,
  network: PodNetwork,
  cgroup: string,
  undo: (() => Promise<void> | void)[],
): Promise<void> {
  if (existsSync(file)) {
    const pid = Number(readFileSync(file, 'utf8'))
    if (isAlive(pid)) {
      throw new MeshError(
        'run.name',
        `a workload of that name runs already (process ${pid}): give another --name`,
      )
    }
    rmSync(file)
  }
  await emptyCgroup(cgroup)
  removeNetwork(network)
  mkdirSync(join(file, '..'), { recursive: true })
  writeFileSync(file, String(process.pid), { flag: 'wx' })
  undo.push(() => rmSync(file, { force: true }))
}

function defaultPool(): Pool {
  const pool = parsePool(DEFAULT_POOL)
  if (pool === undefined) throw new MeshError('run.pool', `${DEFAULT_POOL} is not a pool`)
  return pool
}

function parseName(text: string): string {
  if (NAME.test(text)) return text
  throw new InvalidArgumentError('expected a DNS label: lower-case letters, digits and hyphens.')
}

function collectLabel(text: string, before: Record<string, string>): Record<string, string> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('expected key=value.')
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) }
}

function collectService(
  text: string,
  before: readonly ServiceRequest[],
): readonly ServiceRequest[] {
  const service = parseServiceRequest(text)
  if (service === undefined)
    throw new InvalidArgumentError('expected NAME:PORT[:TARGET][/PROTOCOL].')
  return [...before, service]
}

function collectPool(text: string, before: readonly Pool[]): readonly Pool[] {
  const pool = parsePool(text)
  if (pool === undefined) throw new InvalidArgumentError('expected a range such as 10.244.1.0/24.')
  return [...before, pool]
}
