// The addresses that this node has now, on any of its devices but loopback.
import { networkInterfaces } from 'node:os'
import { canonicalIp } from '../base/ip.ts'

/** Canonical. Asks the kernel each time: addresses come and go. */
export function nodeAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .filter(({ internal }) => !internal)
    .flatMap(({ address }) => canonicalIp(address) ?? [])
}
