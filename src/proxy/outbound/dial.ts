// Opens the way to one endpoint: a tunnel, plain TCP, or lo when the endpoint is the caller itself.

import type { Clock } from '../../base/clock.ts'
import { formatEndpoint } from '../../base/ip.ts'
import { errorText } from '../../base/mesh-error.ts'
import type { Random } from '../../base/random.ts'
import { err, ok, type Result } from '../../base/result.ts'
import type { IdentityStore } from '../../identity/present/identity-store.ts'
import { DELIVERY_MARK } from '../../kernel/abi.ts'
import { type ConnectSpec, type Kernel, KernelError } from '../../kernel/kernel.ts'
import { LIMITS } from '../../model/limits.ts'
import type { Reason } from '../../model/reason.ts'
import type { TableService, TableWorkload } from '../../model/tables.ts'
import type { Address, Connection } from '../connection.ts'
import { identityOf, serverNameOf } from '../identity-of.ts'
import { type ByteStream, stopOf } from '../stream/byte-stream.ts'
import { KEEP_ALIVE, type SocketStreams } from '../stream/socket-stream.ts'
import { requestHeaders } from '../tunnel/headers.ts'
import type { Tunnels } from '../tunnel/port.ts'

export interface DialParts {
  readonly kernel: Pick<Kernel, 'connect'>
  readonly streams: SocketStreams
  readonly tunnels: Tunnels
  readonly identities: Pick<IdentityStore, 'get'>
  readonly clock: Clock
  readonly random: Random
}

export interface DialFailure {
  readonly reason: Reason
  readonly detail: string
}

export type Dialled = Result<ByteStream, DialFailure>

export interface Leg {
  readonly connection: Connection
  readonly source: TableWorkload
  readonly service: TableService | undefined
  readonly connectTimeoutMs: number
}

/**
 * A tunnel with the source workload's certificate, in its namespace; never plaintext instead. `ip`
 * is where the peer's agent listens, `target` where the workload does.
 */
export async function dialTunnel(
  leg: Leg,
  workload: TableWorkload,
  { ip, target }: { readonly ip: string; readonly target: Address },
  parts: DialParts,
): Promise<Dialled> {
  const { connection, source, service } = leg
  const identity = parts.identities.get(identityOf(source))
  if (identity === undefined || identity.notAfterMs <= parts.clock.nowMs()) {
    const state = identity === undefined ? 'not issued yet' : 'expired'
    return err({ reason: 'identity-unavailable', detail: `${identityOf(source)}: ${state}` })
  }
  const expected = identityOf(workload)
  const opened = await parts.tunnels.open({
    from: connection.pod,
    identity,
    peer: {
      address: ip,
      port: LIMITS.hbonePort,
      expectedIdentities:
        service === undefined ? [expected] : [expected, ...service.subjectAltNames],
      ...(workload.hostNetwork ? { serverName: serverNameOf(workload) } : {}),
    },
    authority: formatEndpoint(target.ip, target.port),
    headers: requestHeaders(
      { source, client: connection.source, service: service?.hostname },
      parts.random,
    ),
    signal: connection.signal,
  })
  return opened.ok ? ok(opened.value.stream) : opened
}

/**
 * TCP from the pod's namespace: to endpoints outside the mesh, and to the caller itself. In the
 * node's namespace the latter needs the mark of a delivery, or it would meet the agent again.
 */
export async function dialPlain(leg: Leg, to: Address, parts: DialParts): Promise<Dialled> {
  const { connection, connectTimeoutMs } = leg
  const delivery = connection.path === 'self' && connection.pod.hostNetwork
  return dialSocket(
    {
      address: to.ip,
      port: to.port,
      keepAlive: KEEP_ALIVE,
      timeoutMs: connectTimeoutMs,
      signal: connection.signal,
      ...(delivery ? { mark: DELIVERY_MARK } : {}),
    },
    connection.pod.namespaceFd,
    parts,
  )
}

export async function dialSocket(
  spec: ConnectSpec & { readonly signal: AbortSignal },
  namespaceFd: number,
  parts: Pick<DialParts, 'kernel' | 'streams'>,
): Promise<Dialled> {
  try {
    const { fd } = await parts.kernel.connect(spec, namespaceFd)
    const stream = parts.streams.adopt(fd)
    if (!spec.signal.aborted) return ok(stream)
    stream.abort()
  } catch (error) {
    if (!spec.signal.aborted) {
      const where = formatEndpoint(spec.address, spec.port)
      const why = error instanceof KernelError ? error.errnoName : errorText(error)
      return err({ reason: 'connect-failed', detail: `connecting to ${where}: ${why}` })
    }
  }
  const stop = stopOf(spec.signal)
  return err({ reason: stop.reason, detail: stop.detail ?? 'cancelled' })
}
