// Connects to the workload inside its own namespace, with the client's address as the source, so
// that the workload sees who called.
import type { Clock } from '../../base/clock.ts'
import type { ConnectSpec, Kernel } from '../../kernel/kernel.ts'
import type { Address, Connection } from '../connection.ts'
import { type Dialled, dialSocket } from '../outbound/dial.ts'
import { KEEP_ALIVE, type SocketStreams } from '../stream/socket-stream.ts'

export interface DeliverParts {
  readonly kernel: Pick<Kernel, 'connect'>
  readonly streams: SocketStreams
  readonly clock: Clock
}

/** Replies to a foreign source find back to the agent by this mark. Source: Istio CNI. */
const DELIVERY_MARK = 0x111

/** Below the ephemeral ports, so that a delivery never takes a port its client uses itself. */
const PORT_FIRST = 1_024
const PORT_LAST = 32_767

export function deliver(
  connection: Connection,
  target: Address,
  connectTimeoutMs: number,
  parts: DeliverParts,
): Promise<Dialled> {
  const spec: ConnectSpec = {
    address: target.ip,
    port: target.port,
    keepAlive: KEEP_ALIVE,
    timeoutMs: connectTimeoutMs,
    signal: connection.signal,
    ...disguise(connection.source, target, connection.pod.addresses),
  }
  return dialSocket({ ...spec, signal: connection.signal }, connection.pod.namespaceFd, parts)
}

/** A call of the pod to itself keeps its own address and needs no disguise. */
export function disguise(
  client: Address,
  target: Address,
  own: readonly string[],
): Pick<ConnectSpec, 'source' | 'portRange' | 'transparent' | 'freebind' | 'mark'> {
  if (client.ip === target.ip || own.includes(client.ip)) return {}
  return {
    source: { address: client.ip, port: 0 },
    portRange: portsWithout(client.port),
    transparent: true,
    freebind: true,
    mark: DELIVERY_MARK,
  }
}

/** The client's own port is left out: the same four addresses would meet its first connection. */
function portsWithout(port: number): readonly [number, number] {
  if (port < PORT_FIRST || port > PORT_LAST) return [PORT_FIRST, PORT_LAST]
  const below = port - PORT_FIRST
  return below > PORT_LAST - port ? [PORT_FIRST, port - 1] : [port + 1, PORT_LAST]
}
