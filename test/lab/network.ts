// Network namespaces and what connects them: a wire (one bridge) between nodes, and in each node a
// bridge for its pods. Nothing of it is in the host's own namespace.
import { type NodeAddresses, WIRE4 } from './addresses.ts'
import { script } from './shell.ts'

/** Device of nodes on the wire, and of pods on their bridge. */
export const DEVICE = 'eth0'
export const POD_BRIDGE = 'pods0'
export const WIRE_BRIDGE = 'wire0'

/** With an address of its own: else it takes the lowest of its ports', so that a new pod could change
 * the gateway's under pods which remember it. */
const BRIDGE = 'address 0a:00:00:00:00:01 type bridge stp_state 0 forward_delay 0 mcast_snooping 0'

/** Port of a node on the wire's bridge. */
export function wirePort(node: number): string {
  return `n${node}`
}

/** Host side of a pod's veth, in its node. */
export function podPort(pod: number): string {
  return `p${pod}`
}

export async function makeWire(namespace: string): Promise<void> {
  await script([
    ...freshNamespace(namespace),
    `ip -n ${namespace} link add ${WIRE_BRIDGE} ${BRIDGE}`,
    `ip -n ${namespace} addr add ${WIRE4}/24 dev ${WIRE_BRIDGE}`,
    `ip -n ${namespace} link set ${WIRE_BRIDGE} up`,
  ])
}

export async function makeNode(
  wire: string,
  namespace: string,
  index: number,
  addresses: NodeAddresses,
): Promise<void> {
  const ip = `ip -n ${namespace}`
  await script([
    ...freshNamespace(namespace),
    ...sysctls(namespace, {
      'net.ipv4.ip_forward': '1',
      'net.ipv6.conf.all.forwarding': '1',
    }),
    `${ip} link add ${DEVICE} type veth peer name ${wirePort(index)} netns ${wire}`,
    `ip -n ${wire} link set ${wirePort(index)} master ${WIRE_BRIDGE} up`,
    `${ip} addr add ${addresses.v4}/24 dev ${DEVICE}`,
    `${ip} addr add ${addresses.v6}/64 dev ${DEVICE} nodad`,
    `${ip} link set ${DEVICE} up`,
    `${ip} link add ${POD_BRIDGE} ${BRIDGE}`,
    `${ip} addr add ${addresses.gateway4}/24 dev ${POD_BRIDGE}`,
    `${ip} addr add ${addresses.gateway6}/64 dev ${POD_BRIDGE} nodad`,
    `${ip} link set ${POD_BRIDGE} up`,
  ])
}

interface Routed {
  readonly netns: string
  readonly addresses: NodeAddresses
}

/** Lets the pods of two nodes reach each other. */
export async function routeBetween(a: Routed, b: Routed): Promise<void> {
  const routes = (from: string, to: NodeAddresses) => [
    `ip -n ${from} route add ${to.pool4} via ${to.v4}`,
    `ip -n ${from} route add ${to.pool6} via ${to.v6}`,
  ]
  await script([...routes(a.netns, b.addresses), ...routes(b.netns, a.addresses)])
}

export interface PodWiring {
  readonly node: string
  readonly namespace: string
  readonly index: number
  readonly v4?: string
  readonly v6?: string
  readonly gateway: NodeAddresses
  readonly sysctls: Readonly<Record<string, string>>
}

export async function makePod(pod: PodWiring): Promise<void> {
  const ip = `ip -n ${pod.namespace}`
  const lines = [
    ...freshNamespace(pod.namespace),
    ...sysctls(pod.namespace, pod.sysctls),
    `${ip} link add ${DEVICE} type veth peer name ${podPort(pod.index)} netns ${pod.node}`,
    `ip -n ${pod.node} link set ${podPort(pod.index)} master ${POD_BRIDGE} up`,
    `${ip} link set ${DEVICE} up`,
  ]
  if (pod.v4 !== undefined) {
    lines.push(`${ip} addr add ${pod.v4}/24 dev ${DEVICE}`)
    lines.push(`${ip} route add default via ${pod.gateway.gateway4}`)
  }
  if (pod.v6 !== undefined) {
    lines.push(`${ip} addr add ${pod.v6}/64 dev ${DEVICE} nodad`)
    lines.push(`${ip} -6 route add default via ${pod.gateway.gateway6}`)
  }
  await script(lines)
}

/** Removes the namespace's name; it lives on until the last process in it has ended. */
export async function removeNamespace(namespace: string): Promise<void> {
  await script([`ip netns del ${namespace}`])
}

/**
 * `cut` loses packets silently in both directions, as when a cable is cut somewhere: the link stays
 * up. (A bridge without STP puts a disabled port back to forwarding, so the port leaves the bridge.)
 */
export async function setWireState(
  wire: string,
  node: number,
  state: 'whole' | 'cut',
): Promise<void> {
  const master = state === 'whole' ? `master ${WIRE_BRIDGE}` : 'nomaster'
  await script([`ip -n ${wire} link set ${wirePort(node)} ${master}`])
}

/** Shell lines that write settings of one network namespace. */
export function sysctls(
  namespace: string,
  values: Readonly<Record<string, string | number>>,
): string[] {
  const writes = Object.entries(values).map(
    ([name, value]) => `echo ${value} > /proc/sys/${name.replaceAll('.', '/')}`,
  )
  if (writes.length === 0) return []
  return [`nsenter --net=/run/netns/${namespace} sh -ec '${writes.join('; ')}'`]
}

/** A namespace whose IPv6 addresses are usable at once: duplicate detection takes seconds. */
function freshNamespace(namespace: string): string[] {
  return [
    `ip netns add ${namespace}`,
    ...sysctls(namespace, {
      'net.ipv6.conf.all.accept_dad': '0',
      'net.ipv6.conf.default.accept_dad': '0',
      'net.ipv6.conf.all.disable_ipv6': '0',
      'net.ipv6.conf.default.disable_ipv6': '0',
    }),
    `ip -n ${namespace} link set lo up`,
  ]
}
