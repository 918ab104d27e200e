// Ports of the node that host-network workloads serve: counted by the kernel's programs where
// somebody listens, written by the agent where the configuration names them.
import { PORT, PORT_ENDS, PORT_KEY } from '../abi.ts'
import type { HostPort } from '../datapath.ts'
import type { BpfMap } from '../kernel.ts'

const EVERY = ['0.0.0.0', '::'] as const

export function readPorts(map: BpfMap, uidOf: (workload: number) => string): HostPort[] {
  const found = new Map<string, HostPort>()
  for (const [key, value] of map.entries()) {
    const { ip, port, configured } = PORT_KEY.decode(key)
    const { workload } = PORT.decode(value)
    if (workload === PORT_ENDS) continue
    const name = `${workload} ${ip} ${port}`
    const listening = configured === 0 || found.get(name)?.listening === true
    found.set(name, { uid: uidOf(workload), ip, port, listening })
  }
  return [...found.values()].sort((a, b) => a.port - b.port || (a.ip < b.ip ? -1 : 1))
}

/**
 * Makes `ports` the workload's own at every address, and no others; returns those that another
 * workload has.
 */
export function configurePorts(map: BpfMap, workload: number, ports: readonly number[]): number[] {
  forget(map, workload, (key) => key.configured === 1 && !ports.includes(key.port))
  return ports.filter((port) => {
    if (ownersOf(map, port).some((owner) => owner !== workload)) return true
    for (const ip of EVERY) {
      map.update(PORT_KEY.encode({ ip, port, configured: 1 }), PORT.encode({ workload }))
    }
    return false
  })
}

/** Whatever is still there of a workload that was withdrawn. */
export function forgetPorts(map: BpfMap, workload: number): void {
  forget(map, workload, () => true)
}

function ownersOf(map: BpfMap, port: number): number[] {
  return EVERY.flatMap((ip) => [0, 1].map((configured) => ({ ip, port, configured }))).flatMap(
    (key) => {
      const value = map.lookup(PORT_KEY.encode(key))
      const owner = value === undefined ? PORT_ENDS : PORT.decode(value).workload
      return owner === PORT_ENDS ? [] : [owner]
    },
  )
}

function forget(
  map: BpfMap,
  workload: number,
  isMeant: (key: ReturnType<typeof PORT_KEY.decode>) => boolean,
): void {
  for (const [key, value] of map.entries()) {
    if (PORT.decode(value).workload === workload && isMeant(PORT_KEY.decode(key))) map.delete(key)
  }
}
