// A tunnel session and its two ends over loopback, for the compliance suite.
import type { Clock } from '../../base/clock.ts'
import { systemClock } from '../../base/clock.ts'
import type { IdentityStore } from '../../identity/present/identity-store.ts'
import type { Accepted, Kernel } from '../../kernel/kernel.ts'
import type { LocalPod } from '../../model/messages.ts'
import { localPod } from '../../model/testing/local-pod.ts'
import type {
  InboundRequest,
  ServedSession,
  TunnelFailure,
  TunnelPeer,
  TunnelSession,
  TunnelTransport,
} from '../tunnel/port.ts'
import { until } from './conditions.ts'
import { held, spiffe } from './identities.ts'

export const CLIENT_ID = spiffe('client')
export const SERVER_ID = spiffe('server')

export interface TunnelServer {
  readonly peer: TunnelPeer
  readonly requests: InboundRequest[]
  readonly sessions: ServedSession[]
  readonly failures: TunnelFailure[]
  /** The next request, when it has come. */
  next(): Promise<InboundRequest>
  close(): void
}

export interface Bench {
  readonly kernel: Kernel
  readonly identities: IdentityStore
  readonly transport: TunnelTransport
}

export type MakeTransport = (kernel: Kernel, clock: Clock) => TunnelTransport

export const POD: LocalPod = localPod({ uid: 'pod-client', addresses: ['127.0.0.1'] })

/** Serves tunnels on a loopback port; requests are kept until somebody answers them. */
export async function serveTunnels(
  bench: Bench,
  onAccepted?: (accepted: Accepted) => void,
): Promise<TunnelServer> {
  const listener = await bench.kernel.listen({ address: '127.0.0.1', port: 0 })
  const requests: InboundRequest[] = []
  const sessions: ServedSession[] = []
  const failures: TunnelFailure[] = []
  let taken = 0
  const acceptor = bench.kernel.accept(listener.fd, { batchMax: 16 }, (batch) => {
    for (const accepted of batch) {
      onAccepted?.(accepted)
      void bench.transport
        .serve({
          fd: accepted.fd,
          presentation: { kind: 'one', identity: held(bench.identities, SERVER_ID) },
          signal: new AbortController().signal,
          onRequest: (_session, request) => requests.push(request),
        })
        .then((served) => {
          if (served.ok) sessions.push(served.value.session)
          else failures.push(served.error)
        })
    }
  })
  return {
    peer: { address: '127.0.0.1', port: listener.local.port, expectedIdentities: [SERVER_ID] },
    requests,
    sessions,
    failures,
    async next() {
      const at = taken++
      await until('a request', () => requests.length > at)
      const request = requests[at]
      if (request === undefined) throw new Error('no request')
      return request
    },
    close() {
      acceptor.stop()
      for (const session of sessions) session.destroy()
      bench.kernel.closeFd(listener.fd)
    },
  }
}

export async function dialTunnel(
  bench: Bench,
  peer: TunnelPeer,
  signal: AbortSignal = new AbortController().signal,
): Promise<TunnelSession> {
  const identity = held(bench.identities, CLIENT_ID)
  const dialled = await bench.transport.dial(peer, identity, POD, 5_000, signal)
  if (!dialled.ok) throw new Error(`${dialled.error.reason}: ${dialled.error.detail}`)
  return dialled.value
}

export const CLOCK = systemClock
