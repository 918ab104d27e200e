// Addresses for workloads that `weft run` starts: which one is tried when, and the file that
// claims it. A claim holds while the process named in it lives.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseCidr } from '../../base/cidr.ts'
import { fnv1a } from '../../base/fnv.ts'
import { formatIp, isV4 } from '../../base/ip.ts'
import { MeshError } from '../../base/mesh-error.ts'

export interface Pool {
  /** The node's own address in the pool: its first. */
  readonly gateway: string
  /** Prefix length as written, 24 for 10.0.0.0/24. */
  readonly prefix: number
  readonly family: 4 | 6
  /** Addresses that may be given to workloads. */
  readonly size: number
  /** The nth of them, n from 0. */
  at(index: number): string
}

const HOSTS_MAX = 65_536

/** Undefined when `text` is not a range with room for a gateway and one workload. */
export function parsePool(text: string): Pool | undefined {
  const cidr = parseCidr(text)
  if (cidr === undefined || !text.includes('/')) return undefined
  const v4 = isV4(cidr.bytes)
  const free = 128 - cidr.bits
  // Network, gateway and (IPv4) broadcast addresses are not given away.
  const size = Math.min(2 ** free, HOSTS_MAX) - (v4 ? 3 : 2)
  if (size < 1) return undefined
  const offset = (index: number): string => formatIp(plus(cidr.bytes, index))
  return {
    gateway: offset(1),
    prefix: v4 ? cidr.bits - 96 : cidr.bits,
    family: v4 ? 4 : 6,
    size,
    at: (index) => offset(2 + index),
  }
}

/** Where in a pool a workload's search starts, so that it tends to keep its address. */
export function startIn(size: number, name: string): number {
  return fnv1a(name) % size
}

/** Claims a free address below `directory`; throws MeshError when the pool is exhausted. */
export function claimAddress(pool: Pool, name: string, directory: string, pid: number): string {
  mkdirSync(directory, { recursive: true })
  const start = startIn(pool.size, name)
  for (let step = 0; step < pool.size; step++) {
    const address = pool.at((start + step) % pool.size)
    if (claim(join(directory, address), pid)) return address
  }
  throw new MeshError(
    'run.pool',
    `every address of the pool with gateway ${pool.gateway}/${pool.prefix} is in use: give a larger --pool`,
  )
}

export function releaseAddress(directory: string, address: string): void {
  rmSync(join(directory, address), { force: true })
}

function claim(path: string, pid: number): boolean {
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      writeFileSync(path, String(pid), { flag: 'wx' })
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      if (ownerLives(path)) return false
      rmSync(path, { force: true })
    }
  }
  return false
}

function ownerLives(path: string): boolean {
  try {
    return isAlive(Number(readFileSync(path, 'utf8')))
  } catch {
    return false
  }
}

export function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function plus(bytes: Uint8Array, value: number): Uint8Array {
  const sum = new Uint8Array(bytes)
  let carry = value
  for (let at = sum.length - 1; at >= 0 && carry > 0; at--) {
    carry += sum[at] ?? 0
    sum[at] = carry & 0xff
    carry = Math.floor(carry / 256)
  }
  return sum
}
