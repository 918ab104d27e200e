// The agent's place among the cgroups: a leaf of its own below the stable parent that BPF programs
// are attached to and compare with.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statfsSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { errorText, MeshError } from '../base/mesh-error.ts'
import { readPids } from '../discovery/cgroup-watch.ts'

const CGROUP2_MAGIC = 0x63677270

/**
 * Makes the directories and moves this process, with all its threads, into a leaf, which it returns;
 * undefined when a service manager has started it in a cgroup of its own there.
 */
export function enterAgentCgroup(
  agentCgroup: string,
  workloadsCgroup: string,
  cgroup2: string,
): string | undefined {
  requireCgroup2('--cgroup', agentCgroup)
  requireCgroup2('--watch', workloadsCgroup)
  requireApart(agentCgroup, workloadsCgroup)
  const leaf = join(agentCgroup, `agent-${process.pid}`)
  try {
    mkdirSync(workloadsCgroup, { recursive: true })
    removeStaleLeaves(agentCgroup)
    if (isBelow(ownCgroup(cgroup2), agentCgroup)) return undefined
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

/** Processes of agents: whatever is in their cgroup or below it, but for this very process. */
export function agentPids(agentCgroup: string): readonly number[] {
  if (!existsSync(agentCgroup)) return []
  const below = readdirSync(agentCgroup, { recursive: true, withFileTypes: true })
    .filter((found) => found.isDirectory())
    .map((found) => join(found.parentPath, found.name))
  return [agentCgroup, ...below].flatMap(readPids).filter((pid) => pid !== process.pid)
}

function ownCgroup(cgroup2: string): string {
  const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/'
  return join(cgroup2, own)
}

function isBelow(path: string, above: string): boolean {
  const way = relative(above, path)
  return way !== '' && way !== '..' && !way.startsWith('../')
}

/** Elsewhere plain directories would be made, and the failure come later and say less. */
function requireCgroup2(option: string, path: string): void {
  let existing = path
  while (!existsSync(existing)) existing = dirname(existing)
  if (statfsSync(existing).type === CGROUP2_MAGIC) return
  throw new MeshError(
    'agent.cgroup',
    `${option} ${path} is not below a cgroup v2 mount: name a directory there, or leave it out`,
  )
}

/** Whatever runs in the agent's cgroup is exempt from the mesh. */
function requireApart(agentCgroup: string, workloadsCgroup: string): void {
  if (relative(agentCgroup, workloadsCgroup) !== '' && !isBelow(workloadsCgroup, agentCgroup))
    return
  throw new MeshError(
    'agent.cgroup',
    `--watch ${workloadsCgroup} lies in --cgroup ${agentCgroup}, so that every workload would be ` +
      'taken for the agent: name two that are apart',
  )
}

/** Moves this process back to where it can be left, and removes the leaf. */
export function leaveAgentCgroup(leaf: string | undefined, cgroup2Root: string): void {
  if (leaf === undefined) return
  try {
    writeFileSync(join(cgroup2Root, 'cgroup.procs'), String(process.pid))
    rmdirSync(leaf)
  } catch {
    // A leaf that another process still uses is removed by the next agent.
  }
}

/** Removes those of the mesh's own cgroups that are empty. */
export function removeCgroups(...paths: readonly string[]): void {
  for (const path of paths) {
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
