// What BPF cannot do in a pod's namespace: find its device's other end, and route the answers of
// marked deliveries back to the agent. Through `ip`, run inside the namespace.
import { spawn } from 'node:child_process'
import { errorText, MeshError } from '../../base/mesh-error.ts'
import { DELIVERY_MARK } from '../abi.ts'
import type { Kernel, Namespace } from '../kernel.ts'

/** The routing table of marked answers. */
const TABLE = 100
const TIMEOUT_MS = 30_000
const MARK = `0x${DELIVERY_MARK.toString(16)}`

const REFLECT = {
  4: '/proc/sys/net/ipv4/fwmark_reflect',
  6: '/proc/sys/net/ipv6/fwmark_reflect',
} as const

export interface PodDevice {
  readonly ifindex: number
  readonly name: string
  /** Its address on the link. */
  readonly mac: string
  /** Index of the veth's other end, in the agent's namespace. */
  readonly hostIfindex: number
  readonly hostName: string
}

interface ShownLink {
  readonly ifindex: number
  readonly address: string
  readonly link_index?: number
  readonly ifname: string
  readonly linkinfo?: { readonly info_kind?: string }
}

/** Throws MeshError `datapath.device` unless the device is a veth whose other end is ours. */
export async function findDevice(namespace: Namespace, name: string): Promise<PodDevice> {
  if (!/^[\w.@:-]{1,15}$/.test(name)) {
    throw new MeshError('datapath.device', `"${name}" is not the name of a device`)
  }
  const [device] = await showLinks(namespace.fd, `dev ${name}`)
  const kind = device?.linkinfo?.info_kind
  if (device?.link_index === undefined || kind !== 'veth') {
    throw new MeshError(
      'datapath.device',
      `device ${name} of the pod is ${kind ?? 'not virtual'}, but only the ends of a veth pair can be guarded`,
    )
  }
  const ours = await showLinks(undefined, 'type veth')
  const host = ours.find(
    (link) => link.ifindex === device.link_index && link.link_index === device.ifindex,
  )
  if (host === undefined) {
    throw new MeshError(
      'datapath.device',
      `the other end of ${name} is not in the agent's network namespace; run the agent there`,
    )
  }
  return {
    ifindex: device.ifindex,
    name,
    mac: device.address,
    hostIfindex: host.ifindex,
    hostName: host.ifname,
  }
}

/**
 * A delivery keeps its client's address, so the workload's answers would leave the pod. Sockets
 * inherit the mark of the SYN (tcp_fwmark_accept), so do the kernel's own answers, such as the RST
 * of a port where nobody listens (fwmark_reflect), and marked packets stay on lo. Made again where
 * it exists already, and verified.
 */
export async function addRoutes(
  kernel: Kernel,
  namespace: Namespace,
  families: readonly (4 | 6)[],
): Promise<void> {
  await kernel.writeFileIn(namespace.fd, '/proc/sys/net/ipv4/tcp_fwmark_accept', '1')
  const steps = families.flatMap((family) => [
    `echo 1 > ${REFLECT[family]}`,
    `ip -${family} rule show fwmark ${MARK} | grep -q 'lookup ${TABLE}' ||
      ip -${family} rule add fwmark ${MARK} lookup ${TABLE}`,
    `ip -${family} route replace local default dev lo table ${TABLE}`,
    `ip -${family} rule show fwmark ${MARK} | grep 'lookup ${TABLE}'`,
    `ip -${family} route show table ${TABLE} | grep '^local default dev lo'`,
  ])
  await inside(namespace.fd, ['ip link set lo up', ...steps])
}

/** Also in a namespace that is half gone: what cannot be removed is gone with it. */
export async function removeRoutes(kernel: Kernel, namespace: Namespace): Promise<void> {
  const steps = ([4, 6] as const).flatMap((family) => [
    `test ! -e ${REFLECT[family]} || echo 0 > ${REFLECT[family]}`,
    `while ip -${family} rule del fwmark ${MARK} lookup ${TABLE} 2>/dev/null; do :; done`,
    `ip -${family} route flush table ${TABLE} 2>/dev/null || true`,
  ])
  await inside(namespace.fd, steps)
  await kernel.writeFileIn(namespace.fd, '/proc/sys/net/ipv4/tcp_fwmark_accept', '0')
}

async function showLinks(namespaceFd: number | undefined, selector: string): Promise<ShownLink[]> {
  const text = await inside(namespaceFd, [`ip -j -d link show ${selector}`])
  return JSON.parse(text === '' ? '[]' : text) as ShownLink[]
}

/** Runs lines of shell in a namespace, or in ours, all in one process: an enrolment waits for it.
 * Of the mounts nothing changes, as it would with `ip -n`: the BPF file system stays in sight. */
export function inside(namespaceFd: number | undefined, lines: readonly string[]): Promise<string> {
  const enter =
    namespaceFd === undefined
      ? []
      : ['nsenter', `--net=/proc/${process.pid}/fd/${namespaceFd}`, '--']
  const [file = 'sh', ...rest] = [...enter, 'sh', '-ec', lines.join('\n')]
  const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe'], timeout: TIMEOUT_MS })
  let out = ''
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const failed = (why: string, cause?: unknown): MeshError =>
    new MeshError('datapath.ip', `${why} (in: ${lines.join('; ')})`, { cause })
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(failed(`${errorText(error)}: install iproute2`, error)))
    child.on('close', (code, signal) => {
      if (code === 0) resolve(out)
      else reject(failed(said.trim() || out.trim() || `ended with ${code ?? signal}`))
    })
  })
}
