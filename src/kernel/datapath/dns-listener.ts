// Under which address the UDP sockets that take a workload's questions are entered among its
// listeners. bpf/lib/listeners.h repeats it.
import { formatIp, IP_BYTES } from '../../base/ip.ts'
import type { DnsClass, ListenerClass } from '../../model/messages.ts'
import { LISTENER_CLASSES, LISTENER_KEY } from '../abi.ts'

export const DNS_CLASSES: readonly DnsClass[] = ['dns0', 'dns1', 'dns2']

export function isDns(kind: ListenerClass): kind is DnsClass {
  return (DNS_CLASSES as readonly ListenerClass[]).includes(kind)
}

/** "weft": where no workload has its address. */
const HOST_LISTENERS = 0x77656674

/**
 * `ip` is the workload's own address of that family. Workloads that share the node's address are
 * told apart by their number.
 */
export function dnsListenerKey(
  workload: { readonly hostNetwork: boolean; readonly number: number; readonly ip: string },
  kind: DnsClass,
  worker: number,
): Buffer {
  const ip = workload.hostNetwork ? hostIp(workload) : workload.ip
  return LISTENER_KEY.encode({ ip, class: LISTENER_CLASSES[kind], worker })
}

function hostIp({ ip, number }: { readonly ip: string; readonly number: number }): string {
  const bytes = Buffer.alloc(IP_BYTES)
  bytes.writeUInt32BE(HOST_LISTENERS, 0)
  bytes.writeUInt32BE(ip.includes(':') ? 6 : 4, 8)
  bytes.writeUInt32BE(number, 12)
  return formatIp(bytes)
}
