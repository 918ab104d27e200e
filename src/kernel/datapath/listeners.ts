// The sockets a worker serves a workload by: TCP listeners and the UDP sockets of its questions.
import type { ListenerClass, StreamClass } from '../../model/messages.ts'
import { LISTENER, LISTENER_CLASSES, LISTENER_KEY } from '../abi.ts'
import type { PodListener } from '../datapath.ts'
import type { BpfMap, Kernel } from '../kernel.ts'
import { DNS_CLASSES, dnsListenerKey, isDns } from './dns-listener.ts'
import { familiesOf, type PodState } from './pod.ts'

/** Freebind, because loopback may lack the address while the pod has another. Reuse, because
 * accepted connections have the program's port, which it could not open again. */
const LISTENING = { port: 0, backlog: 4096, freebind: true, reuseAddress: true }

const STREAM_CLASSES: readonly StreamClass[] = ['outbound', 'plaintext', 'hbone']

export interface ListenerMaps {
  readonly listeners: BpfMap
  readonly listener: BpfMap
}

/** An address by which `lookup` finds the listeners of its family. */
export interface StreamPlace {
  readonly ip: string
  readonly family: 4 | 6
}

/** One listener of a worker for every class and place, known to `lookup`. Pushes to `opened`. */
export async function openStreams(
  kernel: Kernel,
  maps: ListenerMaps,
  owner: Pick<PodState, 'namespace' | 'workload'>,
  places: readonly StreamPlace[],
  worker: number,
  opened: PodListener[],
): Promise<void> {
  for (const kind of STREAM_CLASSES) {
    for (const { ip, family } of places) {
      const spec = { ...LISTENING, address: LOOPBACKS[family] }
      const { fd } = await kernel.listen(spec, owner.namespace.fd)
      opened.push({ worker, class: kind, fd })
      maps.listener.updateSocket(
        fd,
        LISTENER.encode({ worker, class: LISTENER_CLASSES[kind], workload: owner.workload }),
      )
      maps.listeners.updateFd(listenerKey(ip, kind, worker), fd)
    }
  }
}

export function listenerKey(ip: string, kind: ListenerClass, worker: number): Buffer {
  return LISTENER_KEY.encode({ ip, class: LISTENER_CLASSES[kind], worker })
}

/** Sockets of one worker for every class and family, known to the programs. All or none. */
export async function openListeners(
  kernel: Kernel,
  maps: ListenerMaps,
  pod: PodState,
  worker: number,
): Promise<PodListener[]> {
  const opened: PodListener[] = []
  try {
    const places = familiesOf(pod).map((family) => ({ ip: ipOf(pod, family), family }))
    await openStreams(kernel, maps, pod, places, worker, opened)
    await openDns(kernel, maps, pod, worker, opened)
  } catch (error) {
    closeListeners(kernel, opened)
    throw error
  }
  return opened
}

/** Bound where questions are sent, because answers come from there: the workload's own address, or
 * loopback for one that shares the node's. Pushes to `opened`. */
export async function openDns(
  kernel: Kernel,
  maps: Pick<ListenerMaps, 'listeners'>,
  pod: PodState,
  worker: number,
  opened: PodListener[],
): Promise<void> {
  for (const [kind, family] of pairs(DNS_CLASSES, familiesOf(pod))) {
    const address = pod.hostNetwork ? LOOPBACKS[family] : ipOf(pod, family)
    const spec = { address, port: 0, freebind: true, v6Only: true }
    const { fd } = await kernel.bindUdp(spec, pod.namespace.fd)
    opened.push({ worker, class: kind, fd })
    maps.listeners.updateFd(keyOf(pod, kind, family, worker), fd)
  }
}

/** Out of the choice of the programs; the sockets stay open. */
export function hideListeners(
  listeners: BpfMap,
  pod: PodState,
  hidden: readonly PodListener[],
): void {
  for (const { worker, class: kind } of hidden) {
    for (const family of familiesOf(pod)) listeners.delete(keyOf(pod, kind, family, worker))
  }
}

export function closeListeners(kernel: Kernel, listeners: readonly PodListener[]): void {
  for (const { fd } of listeners) kernel.closeFd(fd)
}

/**
 * One socket for each family: a socket bound to ::1 takes no IPv4 (the kernel makes it IPv6-only),
 * and one bound to :: would be found at its port under every address. Bound to a loopback address
 * and any port, nobody meets it at a known place; `lookup` assigns it.
 */
const LOOPBACKS: Readonly<Record<4 | 6, string>> = { 4: '127.0.0.1', 6: '::1' }

function pairs<Kind>(kinds: readonly Kind[], families: readonly (4 | 6)[]): [Kind, 4 | 6][] {
  return kinds.flatMap((kind) => families.map((family): [Kind, 4 | 6] => [kind, family]))
}

function keyOf(pod: PodState, kind: ListenerClass, family: 4 | 6, worker: number): Buffer {
  const ip = ipOf(pod, family)
  if (isDns(kind)) {
    const { hostNetwork, workload: number } = pod
    return dnsListenerKey({ hostNetwork, number, ip }, kind, worker)
  }
  return listenerKey(ip, kind, worker)
}

function ipOf(pod: PodState, family: 4 | 6): string {
  return family === 4 ? pod.ip4 : pod.ip6
}
