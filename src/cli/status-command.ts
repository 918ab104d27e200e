// `weft status`: how agents are, in a few lines each.
import type { Command } from 'commander'
import { AdminClient } from '../admin/client.ts'
import type { Status, WorkloadRow } from '../admin/shapes.ts'
import { errorText } from '../base/mesh-error.ts'
import { duration, printable } from './top/figures.ts'
import { collect, DEFAULT_STATE, statesOf } from './top-command.ts'

interface Flags {
  readonly state: readonly string[]
  readonly json?: boolean
}

export function addStatusCommand(program: Command, exit: (code: number) => void): void {
  program
    .command('status')
    .description('show how agents are: configuration, workers, workloads, certificates')
    .option(
      '--state <directory>',
      `state directory of an agent; may be repeated (default: ${DEFAULT_STATE})`,
      collect,
      [],
    )
    .option('--json', 'everything, as one JSON document for each agent')
    .action(async (flags: Flags) => exit(await status(flags)))
}

async function status(flags: Flags): Promise<number> {
  let code = 0
  for (const state of statesOf(flags.state)) {
    try {
      const client = new AdminClient(state)
      const told = await client.status()
      const { workloads } = await client.workloads()
      const text = flags.json === true ? JSON.stringify(told) : statusText(told, workloads)
      process.stdout.write(`${text}\n`)
    } catch (error) {
      process.stderr.write(`weft: ${errorText(error)}\n`)
      code = 1
    }
  }
  return code
}

/** `workloads` are those of the agent's node. */
export function statusText(status: Status, workloads: readonly WorkloadRow[]): string {
  const { config, workers, kernel, certificates } = status
  const forms = Object.entries(kernel.forms).map(([what, form]) => `, ${what} by ${form}`)
  const outside = workloads.filter(({ enrolled }) => enrolled === false)
  const lines = [
    `${status.node}: weft ${status.version}, process ${status.pid}, up ${duration(status.uptimeMs)}`,
    `  configuration  ${configText(config)}`,
    ...config.issues.map(({ severity, text }) => `    ${severity}: ${text}`),
    ...(config.issuesLeftOut > 0 ? [`    and ${config.issuesLeftOut} more`] : []),
    `  workers        ${workers.alive.length} of ${workers.wanted}`,
    `  kernel         ${kernel.release}${forms.join('')}`,
    `  workloads      ${status.workloads.enrolled} of ${status.workloads.local} of this node are in the mesh, which knows ${status.workloads.known}`,
    ...outside.map(({ namespace, name, why }) => `    not ${namespace}/${name}: ${why}`),
    `  services       ${status.services}, ${status.policies} authorization policies`,
    `  certificates   ${certificates.valid} valid, ${certificates.awaited} awaited, ${certificates.failing} failing`,
    '  counters',
    ...Object.entries(status.counters)
      .filter(([name, value]) => value !== 0 || name === 'weft_udp_passthrough_total')
      .map(([name, value]) => `    ${name} ${value}`),
  ]
  return lines.map(printable).join('\n')
}

function configText({ version, state, refusal }: Status['config']): string {
  switch (state) {
    case 'none':
      return 'none is in force yet'
    case 'in-force':
      return `version ${version} is in force`
    case 'last-good':
      return `version ${version} stays in force, the newest cannot be${refusal === undefined ? ':' : `: ${refusal}`}`
  }
}
