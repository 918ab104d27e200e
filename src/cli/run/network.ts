// The network namespace of a workload that `weft run` starts: a namespace, a veth pair into the
// node's bridge, addresses and routes. Made with iproute2, named so that operators recognise it.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { MeshError } from '../../base/mesh-error.ts'
import type { Pool } from './address-pool.ts'

export const BRIDGE = 'weft0'

export interface PodNetwork {
  /** Name below /run/netns. */
  readonly namespace: string
  /** The node's end of the veth pair. */
  readonly hostDevice: string
}

export interface PodAddress {
  readonly pool: Pool
  readonly address: string
}

export function podNetwork(
  nodeName: string,
  namespace: string,
  name: string,
  netns?: string,
): PodNetwork {
  const full = `${nodeName}-${namespace}-${name}`
  const short = createHash('sha256').update(full).digest('hex').slice(0, 10)
  return { namespace: netns ?? `weft-${full}`, hostDevice: `weft-${short}` }
}

/** Makes the bridge where it is missing; several runs may do so at once. */
export function ensureBridge(pools: readonly Pool[]): void {
  if (!succeeds(['ip', 'link', 'show', BRIDGE])) {
    runUnless(['ip', 'link', 'add', BRIDGE, 'type', 'bridge'], 'File exists')
    runUnless(['ip', 'link', 'set', BRIDGE, 'up'], 'File exists')
  }
  for (const pool of pools) {
    const nodad = pool.family === 6 ? ['nodad'] : []
    const add = ['ip', 'addr', 'add', `${pool.gateway}/${pool.prefix}`, 'dev', BRIDGE, ...nodad]
    runUnless(add, 'File exists|already assigned')
    enableForwarding(pool.family)
  }
}

export function makeNetwork(network: PodNetwork, addresses: readonly PodAddress[]): void {
  const inside = ['ip', '-n', network.namespace]
  run(['ip', 'netns', 'add', network.namespace])
  const peer = ['peer', 'name', 'eth0', 'netns', network.namespace]
  run(['ip', 'link', 'add', network.hostDevice, 'type', 'veth', ...peer])
  run(['ip', 'link', 'set', network.hostDevice, 'master', BRIDGE, 'up'])
  run([...inside, 'link', 'set', 'lo', 'up'])
  run([...inside, 'link', 'set', 'eth0', 'up'])
  for (const { pool, address } of addresses) {
    const nodad = pool.family === 6 ? ['nodad'] : []
    run([...inside, 'addr', 'add', `${address}/${pool.prefix}`, 'dev', 'eth0', ...nodad])
    const family = pool.family === 6 ? ['-6'] : []
    run([...inside, ...family, 'route', 'add', 'default', 'via', pool.gateway, 'dev', 'eth0'])
  }
}

/** Also after a crash, when only a part exists. */
export function removeNetwork(network: PodNetwork): void {
  succeeds(['ip', 'link', 'del', network.hostDevice])
  succeeds(['ip', 'netns', 'del', network.namespace])
}

/** The bridge goes with its last workload. */
export function removeBridgeIfUnused(): void {
  const ports = spawnSync('ip', ['-o', 'link', 'show', 'master', BRIDGE], { encoding: 'utf8' })
  if (ports.status === 0 && ports.stdout.trim() === '') succeeds(['ip', 'link', 'del', BRIDGE])
}

/** Pods reach other nodes only through a node that forwards. */
function enableForwarding(family: 4 | 6): void {
  const file =
    family === 4 ? '/proc/sys/net/ipv4/ip_forward' : '/proc/sys/net/ipv6/conf/all/forwarding'
  if (readFileSync(file, 'utf8').trim() !== '1') writeFileSync(file, '1')
}

function run(command: readonly string[]): void {
  const said = attempt(command)
  if (said !== undefined) throw new MeshError('run.network', `${command.join(' ')}: ${said}`)
}

function runUnless(command: readonly string[], harmless: string): void {
  const said = attempt(command)
  if (said === undefined || new RegExp(harmless).test(said)) return
  throw new MeshError('run.network', `${command.join(' ')}: ${said}`)
}

function succeeds(command: readonly string[]): boolean {
  return attempt(command) === undefined
}

/** What the command complained about, or undefined when it succeeded. */
function attempt(command: readonly string[]): string | undefined {
  const [program = '', ...args] = command
  const result = spawnSync(program, args, { encoding: 'utf8' })
  if (result.error !== undefined) return result.error.message
  return result.status === 0 ? undefined : result.stderr.trim() || `exit code ${result.status}`
}
