// `weft run -- PROGRAM`: starts a program as a workload of the mesh: cgroup, network namespace,
// address, identity; and takes all of it away when the program ends. With --host-network it stays
// in the node's network, and is known by its cgroup.
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { machineFacts, unmetNeed } from '../agent/preflight.ts'
import { defaultSlices } from '../agent/slices.ts'
import { MeshError } from '../base/mesh-error.ts'
import { type Pool, parsePool } from './run/address-pool.ts'
import { hostPlace } from './run/host-place.ts'
import { parseServiceRequest, type ServiceRequest } from './run/registration.ts'
import { type PodPlace, runWorkload, type WorkloadRequest } from './run/workload.ts'

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
  readonly hostNetwork?: boolean
  readonly address?: string
  readonly hostSlice?: string
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
    .option(
      '--watch <directory>',
      'cgroup of the workloads (default: weft.slice/weft-workloads.slice)',
    )
    .option('--state <directory>', "the agent's state directory", '/run/weft')
    .option('--netns <name>', 'name of its network namespace (default: weft-NODE-NAMESPACE-NAME)')
    .option('--host-network', "stay in this node's network, without a namespace of its own")
    .option(
      '--address <ip>',
      "with --host-network: the node's address for others (default: of the default route)",
    )
    .option(
      '--host-slice <directory>',
      'with --host-network: cgroup in which its own is made (default: weft.slice/weft-hosts.slice)',
    )
    .option('--timeout <seconds>', 'how long to wait for the agent', Number, 30)
    .argument('<command...>', 'the program and its arguments, after --')
    .passThroughOptions()
    .action(async (command: string[], flags: Flags) =>
      exit(await runWorkload(await requestOf(flags, command))),
    )
}

async function requestOf(flags: Flags, command: readonly string[]): Promise<WorkloadRequest> {
  requireFitting(flags)
  const facts = machineFacts()
  const unmet = unmetNeed(facts)
  if (unmet !== undefined || facts.cgroup2 === undefined) {
    throw new MeshError('run.preflight', unmet ?? 'cgroup v2 is not mounted')
  }
  return {
    configDirectory: resolve(flags.config),
    stateDirectory: resolve(flags.state),
    place:
      flags.hostNetwork === true
        ? await hostPlace({
            ...flags,
            address: flags.address,
            slice: flags.hostSlice ?? defaultSlices(facts.cgroup2).hosts,
            cgroup2: facts.cgroup2,
          })
        : podPlace(flags, facts.cgroup2),
    nodeName: flags.node,
    namespace: flags.namespace,
    name: flags.name,
    serviceAccount: flags.serviceAccount,
    labels: flags.label,
    services: flags.service,
    enrolTimeoutMs: flags.timeout * 1000,
    command,
  }
}

function podPlace(flags: Flags, cgroup2: string): PodPlace {
  return {
    kind: 'pod',
    workloadsCgroup: flags.watch ?? defaultSlices(cgroup2).workloads,
    pools: flags.pool.length > 0 ? flags.pool : [defaultPool()],
    netns: flags.netns,
  }
}

/** A flag that would be read over is a misunderstanding. */
function requireFitting(flags: Flags): void {
  const isHost = flags.hostNetwork === true
  const given = {
    '--pool': isHost && flags.pool.length > 0,
    '--netns': isHost && flags.netns !== undefined,
    '--watch': isHost && flags.watch !== undefined,
    '--address': !isHost && flags.address !== undefined,
    '--host-slice': !isHost && flags.hostSlice !== undefined,
  }
  const wrong = Object.entries(given).find(([, isWrong]) => isWrong)?.[0]
  if (wrong === undefined) return
  const when = isHost ? 'for workloads with a network of their own' : 'for --host-network'
  throw new MeshError('run.flags', `${wrong} is ${when}: leave one of the two out`)
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
