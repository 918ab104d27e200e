// Reads the per-CPU counters of the programs by name.
import { REASONS } from '../../model/reason.ts'
import { COUNTERS, LISTENING_KEY, WORKERS } from '../abi.ts'
import type { BpfMap } from '../kernel.ts'

/** `refused:<reason>` for refusals, the names of COUNTERS for the rest; zeros are left out. */
export function readCounters(map: BpfMap): Record<string, number> {
  const names = [
    ...Object.entries(REASONS).map(([reason, info]) => [`refused:${reason}`, info.number] as const),
    ...Object.entries(COUNTERS),
  ]
  const counters: Record<string, number> = {}
  const key = Buffer.alloc(4)
  for (const [name, index] of names) {
    key.writeUInt32LE(index)
    const total = sum(map.lookup(key))
    if (total > 0n) counters[name] = Number(total)
  }
  return counters
}

function sum(perCpu: Buffer | undefined): bigint {
  let total = 0n
  for (let at = 0; perCpu !== undefined && at + 8 <= perCpu.length; at += 8) {
    total += perCpu.readBigUInt64LE(at)
  }
  return total
}

/** Ports that processes listen on, by the cookie of their namespace; each once, lowest first. */
export function readListening(listening: BpfMap): ReadonlyMap<bigint, readonly number[]> {
  const found = new Map<bigint, Set<number>>()
  for (const key of listening.keys()) {
    const { netns, port } = LISTENING_KEY.decode(key)
    const ports = found.get(netns)
    if (ports === undefined) found.set(netns, new Set([port]))
    else ports.add(port)
  }
  return new Map([...found].map(([netns, ports]) => [netns, [...ports].sort((a, b) => a - b)]))
}

/** Connections each worker serves now, by worker. */
export function readLive(workers: BpfMap): readonly number[] {
  const value = workers.lookup(Buffer.alloc(4)) ?? Buffer.alloc(WORKERS.size)
  return WORKERS.decode(value).live.map(Number)
}
