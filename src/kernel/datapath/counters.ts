// Reads the per-CPU counters of the programs by name.
import { REASONS } from '../../model/reason.ts'
import { COUNTERS, LISTENING_KEY } from '../abi.ts'
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

/** Ports that processes of a namespace listen on, each once, lowest first. */
export function readListening(listening: BpfMap, cookie: bigint | undefined): readonly number[] {
  const ports = listening
    .keys()
    .map((key) => LISTENING_KEY.decode(key))
    .filter(({ netns }) => netns === cookie)
    .map(({ port }) => port)
  return [...new Set(ports)].sort((a, b) => a - b)
}
