// The agent's place among the cgroups: a leaf of its own below the stable parent that BPF programs
// are attached to and compare with.
import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorText, MeshError } from '../base/mesh-error.ts'

/** Makes the directories and moves this process, with all its threads, into a leaf. */
export function enterAgentCgroup(agentCgroup: string, workloadsCgroup: string): string {
  const leaf = join(agentCgroup, `agent-${process.pid}`)
  try {
    mkdirSync(workloadsCgroup, { recursive: true })
    removeStaleLeaves(agentCgroup)
    mkdirSync(leaf, { recursive: true })
    writeFileSync(join(leaf, 'cgroup.procs'), String(process.pid))
  } catch (error) {
    throw new MeshError(
      'agent.cgroup',
      `cannot enter ${leaf}: ${errorText(error)}; is --cgroup below the cgroup v2 mount?`,
      { cause: error },
    )
  }
  return leaf
}

/** Moves this process back to where it can be left, and removes the leaf. */
export function leaveAgentCgroup(leaf: string, cgroup2Root: string): void {
  try {
    writeFileSync(join(cgroup2Root, 'cgroup.procs'), String(process.pid))
    rmdirSync(leaf)
  } catch {
    // A leaf that another process still uses is removed by the next agent.
  }
}

/** Removes the agents' and the workloads' cgroups as far as they are empty. */
export function removeCgroups(agentCgroup: string, workloadsCgroup: string): void {
  for (const path of [agentCgroup, workloadsCgroup]) {
    try {
      rmdirSync(path)
    } catch {
      // Still used, by another agent or by programs: theirs to remove.
    }
  }
}

/** Leaves of agents that were killed: a cgroup with processes cannot be removed. */
function removeStaleLeaves(agentCgroup: string): void {
  if (!existsSync(agentCgroup)) return
  for (const name of readdirSync(agentCgroup)) {
    if (!name.startsWith('agent-')) continue
    try {
      rmdirSync(join(agentCgroup, name))
    } catch {
      // A living agent's.
    }
  }
}
