// What BPF cannot do in a pod's namespace: find its device's other end, and route the answers of
// marked deliveries back to the agent. Through `ip`, run inside the namespace.
import { spawn } from 'node:child_process'
import { errorText, MeshError } from '../../base/mesh-error.ts'
import { DELIVERY_MARK } from '../abi.ts'
import type { Kernel, Namespace } from '../kernel.ts'

/** The routing table of marked answers. */
const TABLE = 100
const TIMEOUT_MS = 10_000
const FWMARK_ACCEPT = '/proc/sys/net/ipv4/tcp_fwmark_accept'
const FWMARK_REFLECT = {
  4: '/proc/sys/net/ipv4/fwmark_reflect',
  6: '/proc/sys/net/ipv6/fwmark_reflect',
} as const
const MARK = `0x${DELIVERY_MARK.toString(16)}`

export interface PodDevice {
  readonly ifindex: number
  /** Index of the veth's other end, in the agent's namespace. */
  readonly hostIfindex: number
}

interface ShownLink {
  readonly ifindex: number
  readonly link_index?: number
  readonly ifname?: string
  readonly linkinfo?: { readonly info_kind?: string }
}

/** Throws MeshError `datapath.device` unless the device is a veth whose other end is ours. */
export async function findDevice(namespace: Namespace, name: string): Promise<PodDevice> {
  const [device] = await showLinks(namespace.fd, ['dev', name])
  const kind = device?.linkinfo?.info_kind
  if (device?.link_index === undefined || kind !== 'veth') {
    throw new MeshError(
      'datapath.device',
      `device ${name} of the pod is ${kind ?? 'not virtual'}, but only the ends of a veth pair can be guarded`,
    )
  }
  const ours = await showLinks(undefined, ['type', 'veth'])
  const host = ours.find(
    (link) => link.ifindex === device.link_index && link.link_index === device.ifindex,
  )
  if (host === undefined) {
    throw new MeshError(
      'datapath.device',
      `the other end of ${name} is not in the agent's network namespace; run the agent there`,
    )
  }
  return { ifindex: device.ifindex, hostIfindex: host.ifindex }
}

/**
 * A delivery keeps its client's address, so the workload's answers would leave the pod. Sockets
 * inherit the mark of the SYN (tcp_fwmark_accept), so do the kernel's own answers, such as the RST
 * of a port where nobody listens (fwmark_reflect), and marked packets stay on lo.
 */
export async function addRoutes(
  kernel: Kernel,
  namespace: Namespace,
  families: readonly (4 | 6)[],
): Promise<void> {
  await kernel.writeFileIn(namespace.fd, FWMARK_ACCEPT, '1')
  await ip(namespace.fd, ['link', 'set', 'lo', 'up'])
  for (const family of families) {
    await kernel.writeFileIn(namespace.fd, FWMARK_REFLECT[family], '1')
    if (!(await hasRule(namespace.fd, family))) {
      await ip(namespace.fd, [`-${family}`, 'rule', 'add', 'fwmark', MARK, 'lookup', `${TABLE}`])
    }
    const route = ['local', 'default', 'dev', 'lo', 'table', `${TABLE}`]
    await ip(namespace.fd, [`-${family}`, 'route', 'replace', ...route])
    const routes = await ip(namespace.fd, [`-${family}`, 'route', 'show', 'table', `${TABLE}`])
    if (!/^local default dev lo/m.test(routes) || !(await hasRule(namespace.fd, family))) {
      throw new MeshError(
        'datapath.routes',
        `IPv${family} answers to mark ${MARK} are not routed to lo: table ${TABLE} holds "${routes.trim()}"`,
      )
    }
  }
}

/** Also in a namespace that is half gone: what cannot be removed is gone with it. */
export async function removeRoutes(kernel: Kernel, namespace: Namespace): Promise<void> {
  for (const family of [4, 6] as const) {
    try {
      await kernel.writeFileIn(namespace.fd, FWMARK_REFLECT[family], '0')
      while (await hasRule(namespace.fd, family)) {
        await ip(namespace.fd, [`-${family}`, 'rule', 'del', 'fwmark', MARK, 'lookup', `${TABLE}`])
      }
      await ip(namespace.fd, [`-${family}`, 'route', 'flush', 'table', `${TABLE}`])
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
    }
  }
  await kernel.writeFileIn(namespace.fd, FWMARK_ACCEPT, '0')
}

async function hasRule(namespaceFd: number, family: 4 | 6): Promise<boolean> {
  const rules = await ip(namespaceFd, [`-${family}`, 'rule', 'show', 'fwmark', MARK])
  return new RegExp(`lookup ${TABLE}\\b`).test(rules)
}

async function showLinks(
  namespaceFd: number | undefined,
  selector: readonly string[],
): Promise<ShownLink[]> {
  const text = await ip(namespaceFd, ['-j', '-d', 'link', 'show', ...selector])
  return JSON.parse(text === '' ? '[]' : text) as ShownLink[]
}

/** Runs `ip` in a namespace; rejects with MeshError `datapath.ip` and what it said. */
function ip(namespaceFd: number | undefined, args: readonly string[]): Promise<string> {
  const enter =
    namespaceFd === undefined
      ? []
      : ['nsenter', `--net=/proc/${process.pid}/fd/${namespaceFd}`, '--']
  const [file = 'ip', ...rest] = [...enter, 'ip', ...args]
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
    new MeshError('datapath.ip', `ip ${args.join(' ')}: ${why}`, { cause })
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(failed(`${errorText(error)}; install iproute2`, error)))
    child.on('close', (code, signal) => {
      if (code === 0) resolve(out)
      else reject(failed(said.trim() || `ended with ${code ?? signal}`))
    })
  })
}
