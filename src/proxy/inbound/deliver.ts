// Connects to the workload inside its own namespace, with the client's address as the source, so
// that the workload sees who called; one that shares the node's network sees the node instead.
import type { Clock } from '../../base/clock.ts'
import { DELIVERY_MARK } from '../../kernel/abi.ts'
import type { ConnectSpec, Kernel } from '../../kernel/kernel.ts'
import type { LocalPod } from '../../model/messages.ts'
import type { Address, Connection } from '../connection.ts'
import { type Dialled, dialSocket } from '../outbound/dial.ts'
import { KEEP_ALIVE, type SocketStreams } from '../stream/socket-stream.ts'

export interface DeliverParts {
  readonly kernel: Pick<Kernel, 'connect'>
  readonly streams: SocketStreams
  readonly clock: Clock
}

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
    ...disguise(connection.source, target, connection.pod),
  }
  return dialSocket({ ...spec, signal: connection.signal }, connection.pod.namespaceFd, parts)
}

/**
 * A call of the pod to itself keeps its own address and needs no disguise. The mark is what tells
 * the kernel a delivery from a connection that must meet the agent, and where replies to a foreign
 * source find back to it. In the node's namespace nothing may pretend to be somebody else.
 */
export function disguise(
  client: Address,
  target: Address,
  { addresses, hostNetwork }: Pick<LocalPod, 'addresses' | 'hostNetwork'>,
): Pick<ConnectSpec, 'source' | 'portRange' | 'transparent' | 'freebind' | 'mark'> {
  if (hostNetwork) return { mark: DELIVERY_MARK }
  if (client.ip === target.ip || addresses.includes(client.ip)) return {}
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
