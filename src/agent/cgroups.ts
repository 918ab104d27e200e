// The agent's place among the cgroups: a leaf of its own below the stable parent that BPF programs
// are attached to and compare with.
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorText, MeshError } from '../base/mesh-error.ts'

/** Makes the directories and moves this process, with all its threads, into a leaf. */
export function enterAgentCgroup(agentCgroup: string, workloadsCgroup: string): string {
  const leaf = join(agentCgroup, `agent-${process.pid}`)
  try {
    mkdirSync(workloadsCgroup, { recursive: true })
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
    // A leaf that another process still uses is removed by the next agent's `removeStaleLeaves`.
  }
}

/** Path of this process's cgroup v2, from the line `0::/path` of /proc/self/cgroup. */
export function ownCgroup(procSelfCgroup = readFileSync('/proc/self/cgroup', 'utf8')): string {
  for (const line of procSelfCgroup.split('\n')) {
    if (line.startsWith('0::')) return line.slice(3)
  }
  return '/'
}
