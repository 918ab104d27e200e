// `weft up` and `weft agent`: run an agent in the foreground until a signal; `weft down` removes
// what a stopped agent left pinned.
import { existsSync, mkdirSync } from 'node:fs'
import { availableParallelism, hostname } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { removeCgroups } from '../agent/cgroups.ts'
import { openLog } from '../agent/logger.ts'
import { type Agent, type StopMode, startAgent } from '../agent/main.ts'
import type { AgentOptions } from '../agent/options.ts'
import { machineFacts, unmetNeed } from '../agent/preflight.ts'
import { removeLeftovers } from '../agent/remove.ts'
import { serviceManager } from '../agent/service-manager.ts'
import { defaultSlices } from '../agent/slices.ts'
import { errorText, MeshError } from '../base/mesh-error.ts'
import { LIMITS } from '../model/limits.ts'
import { collectDeadRuns } from './run/record.ts'

interface Flags {
  readonly config: string
  readonly node: string
  readonly cgroup?: string
  readonly watch?: string
  readonly pins: string
  readonly state: string
  readonly memory?: string
  readonly ca?: string
  readonly accessLog: string
  readonly workers: number
  readonly logLevel: AgentOptions['logLevel']
  readonly onStop?: StopMode
}

export function addAgentCommands(program: Command, exit: (code: number) => void): void {
  const run = (flags: Flags) => runAgent(flags, exit)
  withAgentOptions(program.command('up'))
    .description(
      'run the embedded CA and the agent on this host, configured by a directory of YAML',
    )
    .action(run)
  withAgentOptions(program.command('agent'))
    .description('run the agent (the embedded CA comes with the configuration directory)')
    .action(run)
  withAgentOptions(program.command('down'))
    .description('remove everything a stopped agent left in the kernel of this host')
    .action(async (flags: Flags) => {
      const { options, cgroup2 } = prepare(flags)
      const runs = await collectDeadRuns(options.stateDirectory)
      const removed = await removeLeftovers(options, openLog(options.logLevel, options.nodeName))
      const { hosts } = defaultSlices(cgroup2)
      removeCgroups(hosts, dirname(hosts))
      process.stdout.write(
        `removed ${removed} pinned objects below ${options.pins}, and what ${runs} dead ` +
          '`weft run` left\n',
      )
    })
}

function withAgentOptions(command: Command): Command {
  return command
    .requiredOption('--config <directory>', 'configuration: a directory of YAML files')
    .option('--node <name>', 'name of this node in the mesh', hostname())
    .option('--cgroup <directory>', "the agents' cgroup (default: weft.slice/weft-agent.slice)")
    .option(
      '--watch <directory>',
      'cgroup of the workloads (default: weft.slice/weft-workloads.slice)',
    )
    .option('--pins <directory>', 'bpffs directory of this agent', '/sys/fs/bpf/weft')
    .option('--state <directory>', 'state that outlives the process', '/run/weft')
    .option('--memory <directory>', 'state that outlives a reboot (default: that of --state)')
    .option('--ca <directory>', 'embedded CA (default: ca below the configuration)')
    .option('--access-log <file>', "one JSON line per connection; '-' is standard output", '-')
    .option('--workers <count>', 'data-plane threads', parseWorkers, defaultWorkers())
    .option('--log-level <level>', 'error, warn, info or debug', parseLevel, 'info')
    .option(
      '--on-stop <mode>',
      'keep or remove what is in the kernel when the agent ends',
      parseMode,
    )
}

const defaultWorkers = (): number => Math.min(LIMITS.workersMax, availableParallelism())

function parseWorkers(text: string): number {
  const count = Number(text)
  if (Number.isInteger(count) && count >= 1 && count <= LIMITS.workersMax) return count
  throw new InvalidArgumentError(`expected a whole number from 1 to ${LIMITS.workersMax}.`)
}

function parseLevel(text: string): AgentOptions['logLevel'] {
  if (text === 'error' || text === 'warn' || text === 'info' || text === 'debug') return text
  throw new InvalidArgumentError('expected error, warn, info or debug.')
}

function parseMode(text: string): StopMode {
  if (text === 'keep' || text === 'remove') return text
  throw new InvalidArgumentError('expected keep or remove.')
}

function prepare(flags: Flags): { options: AgentOptions; cgroup2: string } {
  const facts = machineFacts()
  const unmet = unmetNeed(facts)
  if (unmet !== undefined || facts.cgroup2 === undefined) {
    throw new MeshError('agent.preflight', unmet ?? 'cgroup v2 is not mounted')
  }
  const configDirectory = resolve(flags.config)
  if (!existsSync(configDirectory)) {
    throw new MeshError(
      'agent.config',
      `--config ${configDirectory} does not exist: make it, or name another`,
    )
  }
  for (const path of [flags.state, flags.memory ?? flags.state])
    mkdirSync(path, { recursive: true })
  const slices = defaultSlices(facts.cgroup2)
  const options: AgentOptions = {
    configDirectory,
    nodeName: flags.node,
    agentCgroup: flags.cgroup ?? slices.agents,
    workloadsCgroup: flags.watch ?? slices.workloads,
    pins: flags.pins,
    stateDirectory: resolve(flags.state),
    memoryDirectory: resolve(flags.memory ?? flags.state),
    caDirectory: resolve(flags.ca ?? join(configDirectory, 'ca')),
    accessLog: flags.accessLog,
    workers: flags.workers,
    logLevel: flags.logLevel,
  }
  return { options, cgroup2: facts.cgroup2 }
}

async function runAgent(flags: Flags, exit: (code: number) => void): Promise<void> {
  const { options, cgroup2 } = prepare(flags)
  const log = openLog(options.logLevel, options.nodeName)
  const manager = serviceManager(log)
  const signal = nextSignal()
  let agent: Agent
  try {
    agent = await startAgent(options, log, cgroup2, manager)
  } catch (error) {
    log.error('agent.start-failed', { error: errorText(error) })
    exit(1)
    return
  }
  const onReload = (): void => {
    void manager.reloading()
    void agent.reload().then(() => manager.ready())
  }
  const onStatus = (): void => log.info('agent.status', agent.status())
  process.on('SIGHUP', onReload)
  process.on('SIGUSR2', onStatus)
  process.stdout.write(
    `${JSON.stringify({ event: 'agent.ready', node: options.nodeName, pid: process.pid })}\n`,
  )
  void manager.ready()
  const caught = await signal
  void manager.stopping()
  process.off('SIGHUP', onReload)
  process.off('SIGUSR2', onStatus)
  // A service manager's TERM is a restart more often than an end: stay closed. Ctrl-C is an end.
  const mode = flags.onStop ?? (caught === 'SIGTERM' ? 'keep' : 'remove')
  log.info('agent.stopping', { signal: caught, mode })
  await agent.stop(mode)
  log.info('agent.stopped', { mode })
}

function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const once = (name: NodeJS.Signals): void => {
      process.on(name, () => resolve(name))
    }
    once('SIGINT')
    once('SIGTERM')
  })
}
