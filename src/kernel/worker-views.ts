// What data-plane workers read from the kernel's maps, each by handles of its own.
import { ASKED_KEY, decodeSockOrigin, ORIGIN, PORT, PORT_ENDS, PORT_KEY } from './abi.ts'
import type { WorkerMapIds } from './datapath.ts'
import type { BpfMap, Kernel } from './kernel.ts'

export interface AskedResolver {
  readonly ip: string
  readonly port: number
  /** The kernel's number of the asking workload. */
  readonly workload: number
}

export interface WorkerViews {
  /** Storage of accepted sockets; each value is read by `decodeSockOrigin`. */
  readonly origins: BpfMap
  readonly decodeOrigin: typeof decodeSockOrigin
  /** The resolver that the program's socket at this port sent its question to; undefined when
   * nobody knows: then the question is not answered. */
  asked(question: {
    readonly netnsCookie: bigint
    readonly clientPort: number
    /** 0 to 2, of the socket the question arrived at. */
    readonly slot: number
    readonly v4: boolean
  }): AskedResolver | undefined
  /** Number of the host-network workload that serves this port of the node; undefined when none
   * does. Who listens at the address counts first, then who listens at every address, then whom
   * the configuration names. */
  portOwner(ip: string, port: number): number | undefined
  /** The same, but of workloads that do listen there. */
  portListener(ip: string, port: number): number | undefined
  close(): void
}

export function openWorkerViews(kernel: Kernel, ids: WorkerMapIds): WorkerViews {
  const origins = kernel.openMapById(ids.origins)
  const asked = kernel.openMapById(ids.asked)
  const hostPorts = kernel.openMapById(ids.hostPorts)
  const owner = (ip: string, port: number, configured: number): number | undefined => {
    const value = hostPorts.lookup(PORT_KEY.encode({ ip, port, configured }))
    const workload = value === undefined ? PORT_ENDS : PORT.decode(value).workload
    return workload === PORT_ENDS ? undefined : workload
  }
  const listener = (ip: string, port: number): number | undefined =>
    owner(ip, port, 0) ?? owner(every(ip), port, 0)
  return {
    origins,
    decodeOrigin: decodeSockOrigin,
    asked: ({ netnsCookie, clientPort, slot, v4 }) => {
      const key = { netns: netnsCookie, port: clientPort, slot, v4: v4 ? 1 : 0 }
      const value = asked.lookup(ASKED_KEY.encode(key))
      return value === undefined ? undefined : ORIGIN.decode(value)
    },
    portOwner: (ip, port) => listener(ip, port) ?? owner(every(ip), port, 1),
    portListener: listener,
    close: () => {
      origins.close()
      asked.close()
      hostPorts.close()
    },
  }
}

function every(ip: string): string {
  return ip.includes(':') ? '::' : '0.0.0.0'
}
