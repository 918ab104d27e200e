// The name by which one identity among several at the same address is asked for: the SNI of a
// tunnel to a workload that shares its node's address.
import { hash } from 'node:crypto'

/** Half of a SHA-256: nobody finds a second identity with the name of another. */
const DIGITS = 32

/** `h-<32 hex digits>.weft`: a host name whatever the identity, and it tells nobody who it is. */
export function serverNameOf(spiffeId: string): string {
  return `h-${hash('sha256', spiffeId, 'hex').slice(0, DIGITS)}.weft`
}
