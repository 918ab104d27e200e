// The agent: builds its parts in order and takes them down again in the reverse order. Decides
// nothing: the parts are wired in parts.ts, the order of a change is in apply.ts, enrolment in
// enroller.ts, a worker's death in recovery.ts.
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { AdminAnswers } from '../admin/answers.ts'
import type { About } from '../admin/port.ts'
import { AdminServer } from '../admin/server.ts'
import { ADMIN_SOCKET } from '../admin/socket.ts'
import { systemClock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import { openAuthority } from '../identity/issue/authority.ts'
import { openDatapath } from '../kernel/datapath/open.ts'
import type { DatapathPaths } from '../kernel/datapath.ts'
import { nativeKernel } from '../kernel/native.ts'
import { AddressMemory } from './address-memory.ts'
import { AdminFacts } from './admin-facts.ts'
import { AuthorityWatch } from './authority-watch.ts'
import { enterAgentCgroup, leaveAgentCgroup, removeCgroups } from './cgroups.ts'
import { ConfigSource } from './config-source.ts'
import { IssueReport } from './issue-report.ts'
import { LastGood } from './last-good.ts'
import type { AgentOptions } from './options.ts'
import { AgentParts } from './parts.ts'
import type { ServiceManager } from './service-manager.ts'
import { defaultSlices } from './slices.ts'
import { weftVersion } from './version.ts'

/** `remove`: nothing of the mesh stays on the node. `keep`: programs stay pinned, and captured
 * workloads are refused until an agent runs again. */
export type StopMode = 'keep' | 'remove'

export interface Agent {
  stop(mode: StopMode): Promise<void>
  /** Reads the configuration directory again; resolves when what it says is in force. */
  reload(): Promise<void>
  /** Counters of all workers together, and the kernel's, since they were made. */
  status(): Readonly<Record<string, number>>
}

type Step = (mode: StopMode) => Promise<void> | void

/** Resolves when the first configuration is in force; rejects with MeshError, everything undone. */
export async function startAgent(
  options: AgentOptions,
  log: Log,
  cgroup2: string,
  manager: ServiceManager,
): Promise<Agent> {
  const steps: Step[] = []
  const undo = async (mode: StopMode): Promise<void> => {
    for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
      try {
        await step(mode)
      } catch (error) {
        log.error('agent.stop-failed', { error: errorText(error) })
      }
    }
  }
  // A first start that fails leaves nothing; a restart that fails leaves the node closed.
  const wasThere = existsSync(options.pins)
  try {
    return { stop: undo, ...(await build(options, log, { cgroup2, manager }, steps)) }
  } catch (error) {
    await undo(wasThere ? 'keep' : 'remove')
    throw error
  }
}

async function build(
  options: AgentOptions,
  log: Log,
  { cgroup2, manager }: { readonly cgroup2: string; readonly manager: ServiceManager },
  steps: Step[],
): Promise<Omit<Agent, 'stop'>> {
  const issues = new IssueReport(log)
  const { memory, addresses } = remembered(options, log)
  steps.push(() => memory.settled())
  const source = new ConfigSource({ log, issues, memory, addresses }, options.configDirectory)
  steps.push(() => source.stop())
  // Configuration first: a node with a bad one should not come up half.
  const { world, registry, rules } = await source.first()

  steps.push(enterCgroup(options, cgroup2))
  const kernel = nativeKernel()
  const datapath = openDatapath({ kernel, log }, pathsOf(options))
  steps.push((mode) => datapath.stop(mode))
  await datapath.start()
  const authority = await openAuthority({
    directory: options.caDirectory,
    nodeName: options.nodeName,
    trustDomain: rules.mesh.trustDomain,
    clock: systemClock,
    log,
  })
  steps.push(() => authority.close())

  const grounds = { log, kernel, datapath, authority, issues, memory, addresses, cgroup2, manager }
  const parts = new AgentParts(options, grounds)
  steps.push(() => parts.accessLog.close())
  steps.push(() => parts.hostWatch.stop())
  const facts = new AdminFacts(aboutOf(options), { agent: parts, datapath, issues }, options)
  const answers = new AdminAnswers(facts, systemClock)
  datapath.onDirectClosed((entry) => {
    parts.reportDirect(entry)
    answers.directClosed(entry)
  })
  const roots = new AuthorityWatch(
    { clock: systemClock, log, onChange: () => void parts.renewIdentities() },
    { directory: options.caDirectory, nodeName: options.nodeName },
  )
  roots.start()
  steps.push(() => roots.stop())
  steps.push(() => parts.pool.stop())
  await parts.pool.start()
  steps.push((mode) => (mode === 'remove' ? parts.enroller.stop('draining') : undefined))
  steps.push(() => parts.drain())
  await parts.config.exclusive(() => parts.apply(registry, rules))
  memory.remember(world)
  source.feed(parts.config)
  parts.watch.start()
  steps.push(() => parts.watch.stop())
  await parts.enroller.reconcile()
  await parts.collectForgotten()
  steps.push(() => parts.stopCollecting())
  const admin = await serveAdmin(answers, log, options)
  steps.push(() => admin.stop())
  const reload = async (): Promise<void> => {
    await source.reload()
    await parts.config.exclusive(() => Promise.resolve())
  }
  return { reload, status: () => parts.status() }
}

/** What outlives a reboot. */
function remembered({ memoryDirectory, configDirectory }: AgentOptions, log: Log) {
  const file = join(memoryDirectory, 'last-good.json')
  return {
    memory: new LastGood({ log }, { file, directory: configDirectory }),
    addresses: new AddressMemory({ log }, join(memoryDirectory, 'service-addresses.json')),
  }
}

/** Returns what undoes it. */
function enterCgroup({ agentCgroup, workloadsCgroup }: AgentOptions, cgroup2: string): Step {
  const leaf = enterAgentCgroup(agentCgroup, workloadsCgroup, cgroup2)
  return (mode) => {
    leaveAgentCgroup(leaf, cgroup2)
    if (mode !== 'remove') return
    const { hosts } = defaultSlices(cgroup2)
    removeCgroups(agentCgroup, workloadsCgroup, hosts, dirname(hosts))
  }
}

function pathsOf(options: AgentOptions): DatapathPaths {
  return {
    pins: options.pins,
    agentCgroup: options.agentCgroup,
    workloadsCgroup: options.workloadsCgroup,
    stateDirectory: options.stateDirectory,
  }
}

async function serveAdmin(
  answers: AdminAnswers,
  log: Log,
  { stateDirectory }: AgentOptions,
): Promise<AdminServer> {
  const admin = new AdminServer({ answers, log }, { path: join(stateDirectory, ADMIN_SOCKET) })
  try {
    await admin.start()
  } catch (error) {
    await admin.stop()
    throw error
  }
  return admin
}

function aboutOf({ nodeName }: AgentOptions): About {
  const startedMs = systemClock.nowMs()
  return { version: weftVersion(), node: nodeName, pid: process.pid, startedMs }
}
