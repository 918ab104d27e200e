// Where the workload wanted to go before its connection was captured.
import { canonicalIp } from '../../base/ip.ts'
import { err, ok, type Result } from '../../base/result.ts'
import type { Accepted } from '../../kernel/kernel.ts'
import type { Address } from '../connection.ts'

/** What BPF knows of an accepted connection. */
export interface Origin extends Address {
  /** The kernel's number of the workload that called; at the node's plaintext listeners, of the one
   * that was called. */
  readonly workload: number
}

/** Reads the socket storage that BPF filled; the layout belongs to `kernel/abi.ts`. */
export type DecodeOrigin = (storage: Buffer | undefined) => Origin | undefined

/** Never a guess: without a readable record the connection is refused. */
export function originalDestination(
  accepted: Accepted,
  decode: DecodeOrigin,
): Result<Origin, string> {
  const origin = decode(accepted.storage)
  if (origin === undefined) return err('the socket carries no original destination')
  const ip = canonicalIp(origin.ip)
  if (ip === undefined || origin.port < 1 || origin.port > 65_535) {
    return err(`the original destination is not an address: ${origin.ip} port ${origin.port}`)
  }
  return ok({ ip, port: origin.port, workload: origin.workload })
}
