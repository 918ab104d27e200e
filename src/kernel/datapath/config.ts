// The one entry of `weft_config`: what the agent was told, and where it and the workloads are.
import { ABI_VERSION, CONFIG } from '../abi.ts'
import type { DatapathPaths } from '../datapath.ts'
import type { BpfMap } from '../kernel.ts'
import { type CgroupPlace, cgroupPlace, requireInside } from './cgroup.ts'

const FIRST = Buffer.alloc(4)

export interface Places {
  readonly agent: CgroupPlace
  readonly workloads: CgroupPlace
  /** Cookie of the agent's own network namespace. */
  readonly nodeNetns: bigint
}

/** Numbers as in the kernel: 0 is false. */
export interface KernelSettings {
  readonly configured: number
  readonly unknown_pass: number
  readonly direct: number
  readonly dns: number
  readonly workers: number
}

/** Throws MeshError `datapath.cgroup`. */
export function findPlaces(paths: DatapathPaths): Omit<Places, 'nodeNetns'> {
  const agent = cgroupPlace(paths.agentCgroup)
  requireInside(paths.agentCgroup)
  return { agent, workloads: cgroupPlace(paths.workloadsCgroup) }
}

/** All zero when nobody wrote them. */
export function readSettings(config: BpfMap): KernelSettings {
  return CONFIG.decode(config.lookup(FIRST) ?? Buffer.alloc(CONFIG.size))
}

export function writeSettings(config: BpfMap, places: Places, settings: KernelSettings): void {
  const { configured, unknown_pass, direct, dns, workers } = settings
  config.update(
    FIRST,
    CONFIG.encode({
      abi: ABI_VERSION,
      configured,
      unknown_pass,
      direct,
      dns,
      workers,
      agent_level: places.agent.level,
      agent_cgroup: places.agent.id,
      workloads_level: places.workloads.level,
      workloads_cgroup: places.workloads.id,
      node_netns: places.nodeNetns,
    }),
  )
}
