// What attackers of the tests are given, and how it is seen whether anything of theirs got through.
import { fileURLToPath } from 'node:url'
import { Capture, type Recording } from '../lab/capture.ts'
import type { Lab } from '../lab/lab.ts'
import type { Node } from '../lab/node.ts'
import type { Packet } from '../lab/pcap.ts'
import type { Pod } from '../lab/pod.ts'
import { PYTHON } from '../lab/programs.ts'

const ATTACK = fileURLToPath(new URL('programs/attack.py', import.meta.url))

export interface AttackOptions {
  readonly port?: number
  readonly message?: string
  readonly mac?: string
  readonly mark?: string
  readonly source?: string
  readonly sourcePort?: number
  readonly timeoutSeconds?: number
}

/**
 * `arp` and `neighbour` claim an address on the link, `arp` under another link address if told;
 * `raw6` sends IPv6 protocol 253, `udp` a datagram without awaiting an answer; `connect` uses TCP with a forged mark, or from a foreign address.
 * Reports `ok`, or the error's name.
 */
export function attack(
  mode: 'arp' | 'neighbour' | 'raw6' | 'udp' | 'connect',
  address: string,
  options: AttackOptions = {},
): string[] {
  const argv = [PYTHON, '-u', ATTACK, mode, address]
  const flags: readonly (readonly [string, string | number | undefined])[] = [
    ['--port', options.port],
    ['--message', options.message],
    ['--mac', options.mac],
    ['--mark', options.mark],
    ['--source', options.source],
    ['--source-port', options.sourcePort],
    ['--timeout', options.timeoutSeconds],
  ]
  for (const [flag, value] of flags) if (value !== undefined) argv.push(flag, String(value))
  return argv
}

/** Link address of a pod's or a node's device. */
export async function macOf(of: Pod | Node, device = 'eth0'): Promise<string> {
  const show = ['ip', '-o', 'link', 'show', 'dev', device]
  const { stdout } = 'podsCgroup' in of ? await of.exec(show) : await of.exec(show, OUTSIDE)
  const mac = /link\/ether (\S+)/.exec(stdout)?.[1]
  if (mac === undefined) throw new Error(`no link address in: ${stdout}`)
  return mac
}

/** In the pod's network, but outside its cgroup. */
export const OUTSIDE = { outsideCgroup: true }

/** What passed between the nodes during `task`. */
export async function onWireDuring(lab: Lab, task: () => Promise<unknown>): Promise<Recording> {
  const capture = await lab.capture()
  await task()
  return capture.stop()
}

/** What reached the device of a pod that no guard watches during `task`. */
export async function atPodDuring(
  lab: Lab,
  node: Node,
  pod: Pod,
  task: () => Promise<unknown>,
): Promise<Recording> {
  const site = { namespace: pod.netns, cgroup: node.otherCgroup, device: 'eth0' }
  const capture = await Capture.start(site, lab.directory, '')
  await task()
  return capture.stop()
}

const TCP = 6
const ICMP6 = 58
const ETH_P_ARP = 0x0806
const HBONE_PORT = 15_008
/** Solicitations and advertisements of neighbours and routers (RFC 4861). */
const NEIGHBOUR_DISCOVERY = [133, 137] as const

/** Packets that neither the mesh nor the link itself has to send between nodes. */
export function strangers({ packets }: Recording): string[] {
  return packets.filter((packet) => !belongs(packet)).map(describe)
}

function belongs({ frame, ip, ports, payload }: Packet): boolean {
  if (frame.readUInt16BE(12) === ETH_P_ARP) return true
  // Never forwarded: what a node itself says on the link.
  if (ip?.destination.startsWith('ff02:')) return true
  if (ip?.protocol === ICMP6) {
    const type = payload.at(0) ?? 0
    return type >= NEIGHBOUR_DISCOVERY[0] && type <= NEIGHBOUR_DISCOVERY[1]
  }
  return ip?.protocol === TCP && (ports?.source === HBONE_PORT || ports?.destination === HBONE_PORT)
}

function describe({ frame, ip, ports }: Packet): string {
  if (ip === undefined) return `a frame of type 0x${frame.readUInt16BE(12).toString(16)}`
  const from = `${ip.source}${ports === undefined ? '' : ` port ${ports.source}`}`
  const to = `${ip.destination}${ports === undefined ? '' : ` port ${ports.destination}`}`
  return `protocol ${ip.protocol} from ${from} to ${to}`
}
