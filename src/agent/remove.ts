// `weft down`: removes what an agent that is no longer running left in the kernel of this host.
import { existsSync, readdirSync } from 'node:fs'
import type { Log } from '../base/log.ts'
import { MeshError } from '../base/mesh-error.ts'
import { removePinned } from '../kernel/datapath/pinned.ts'
import { nativeKernel } from '../kernel/native.ts'
import { agentPids } from './cgroups.ts'
import type { AgentOptions } from './options.ts'

/** Also what is in the namespaces of its pods. Returns how many objects were pinned. */
export async function removeLeftovers(options: AgentOptions, log: Log): Promise<number> {
  const agents = agentPids(options.agentCgroup)
  if (agents.length > 0) {
    throw new MeshError(
      'agent.running',
      `an agent runs on this host (process ${agents[0]}): stop it first, then run \`weft down\``,
    )
  }
  const pinned = countFiles(options.pins)
  const namespaces = await removePinned({ kernel: nativeKernel(), log }, options)
  log.info('agent.removed', { pins: options.pins, pinned, namespaces })
  return pinned
}

function countFiles(directory: string): number {
  if (!existsSync(directory)) return 0
  return readdirSync(directory, { recursive: true, withFileTypes: true }).filter(
    (entry) => !entry.isDirectory(),
  ).length
}
