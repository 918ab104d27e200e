// Tunnels over `node:tls` and `node:http2`: the first implementation of the seam, and the
// reference for the ones that follow. Sockets come from the kernel port, in the pod's namespace.
import { connect as connectHttp2 } from 'node:http2'
import { Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import type { Clock } from '../../../base/clock.ts'
import { formatEndpoint } from '../../../base/ip.ts'
import { errorText } from '../../../base/mesh-error.ts'
import { err, ok, type Result } from '../../../base/result.ts'
import { acceptClient } from '../../../identity/present/accept-client.ts'
import { CertificateReader } from '../../../identity/present/certificate-facts.ts'
import type { WorkloadIdentity } from '../../../identity/present/identity-store.ts'
import { clientTlsOptions } from '../../../identity/present/tls-options.ts'
import { type Kernel, KernelError } from '../../../kernel/kernel.ts'
import { LIMITS } from '../../../model/limits.ts'
import type { LocalPod } from '../../../model/messages.ts'
import { stopOf } from '../../stream/byte-stream.ts'
import { KEEP_ALIVE } from '../../stream/socket-stream.ts'
import type {
  ServeOutcome,
  ServeSpec,
  TunnelFailure,
  TunnelPeer,
  TunnelSession,
  TunnelTransport,
} from '../port.ts'
import { Turnstile } from '../turnstile.ts'
import { ClientSession } from './client-session.ts'
import { ServerSession } from './server-session.ts'
import { CLIENT_OPTIONS } from './settings.ts'

export interface NodeTunnelParts {
  readonly kernel: Pick<Kernel, 'connect'>
  readonly clock: Clock
}

export class NodeTunnels implements TunnelTransport {
  readonly #parts: NodeTunnelParts
  readonly #reader = new CertificateReader()
  /** Handshakes are the costliest thing a worker does; in waves they do not starve the rest. */
  readonly #turnstile = new Turnstile(LIMITS.dialsAtOnceMax)

  constructor(parts: NodeTunnelParts) {
    this.#parts = parts
  }

  async dial(
    peer: TunnelPeer,
    identity: WorkloadIdentity,
    from: LocalPod,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Result<TunnelSession, TunnelFailure>> {
    let fd: number
    try {
      const { address, port } = peer
      const spec = { address, port, keepAlive: KEEP_ALIVE, timeoutMs, signal }
      const connected = await this.#parts.kernel.connect(spec, from.namespaceFd)
      fd = connected.fd
    } catch (error) {
      if (signal.aborted) return err({ reason: stopOf(signal).reason, detail: 'cancelled' })
      return err({ reason: 'connect-failed', detail: connectFailure(peer, error) })
    }
    return this.#turnstile.run(() => this.#handshake(fd, peer, identity, signal))
  }

  async serve(spec: ServeSpec): Promise<Result<ServeOutcome, TunnelFailure>> {
    const { clock } = this.#parts
    const raw = new Socket({ fd: spec.fd, allowHalfOpen: false })
    raw.setNoDelay(true)
    // A connection may break before TLS listens to it.
    raw.on('error', () => {})
    raw.setKeepAlive(true, KEEP_ALIVE.idleS * 1_000)
    const cancel = (): void => void raw.destroy()
    spec.signal.addEventListener('abort', cancel)
    const accepted = await acceptClient(raw, {
      presentation: spec.presentation,
      nowMs: clock.nowMs(),
      reader: this.#reader,
      timeoutMs: LIMITS.handshakeTimeoutMs,
    })
    spec.signal.removeEventListener('abort', cancel)
    if (accepted.kind === 'refused') return err(accepted)
    const session = new ServerSession(accepted, clock, spec.onRequest)
    return ok({ session, closed: session.closed })
  }

  #handshake(
    fd: number,
    peer: TunnelPeer,
    identity: WorkloadIdentity,
    signal: AbortSignal,
  ): Promise<Result<TunnelSession, TunnelFailure>> {
    const { clock } = this.#parts
    const raw = new Socket({ fd, allowHalfOpen: false })
    raw.setNoDelay(true)
    raw.on('error', () => {})
    const check = {
      expected: peer.expectedIdentities,
      nowMs: () => clock.nowMs(),
      reader: this.#reader,
    }
    const options = clientTlsOptions(identity, check, peer.serverName)
    const socket = connectTls({ ...options, socket: raw })
    return new Promise((resolve) => {
      let stage: 'tls' | 'h2' = 'tls'
      const settle = (result: Result<TunnelSession, TunnelFailure>): void => {
        timer.cancel()
        signal.removeEventListener('abort', cancel)
        if (!result.ok) socket.destroy()
        resolve(result)
      }
      const fail = (detail: string, code = ''): void => {
        settle(err({ reason: failureReason(stage, code), detail }))
      }
      const cancel = (): void => settle(err({ reason: stopOf(signal).reason, detail: 'cancelled' }))
      const timer = clock.after(LIMITS.handshakeTimeoutMs, () =>
        fail(`no ${stage} handshake within ${LIMITS.handshakeTimeoutMs} ms`),
      )
      signal.addEventListener('abort', cancel)
      if (signal.aborted) cancel()
      socket.on('error', (error: NodeJS.ErrnoException) => fail(errorText(error), error.code))
      socket.once('close', () => fail('the peer hung up during the handshake'))
      socket.once('secureConnect', () => {
        stage = 'h2'
        if (socket.alpnProtocol !== 'h2') fail('the peer does not speak h2')
        else startHttp2(socket, clock, (session) => settle(ok(session)), fail)
      })
    })
  }
}

/** A client learns only now whether its certificate was accepted (TLS 1.3), so a session counts as
 * up when the peer's SETTINGS are here. */
function startHttp2(
  socket: TLSSocket,
  clock: Clock,
  up: (session: TunnelSession) => void,
  fail: (detail: string, code?: string) => void,
): void {
  const http2 = connectHttp2('https://weft', { ...CLIENT_OPTIONS, createConnection: () => socket })
  const session = new ClientSession(http2, socket, clock)
  http2.once('error', (error: NodeJS.ErrnoException) => fail(errorText(error), error.code))
  http2.once('connect', () => http2.setLocalWindowSize(LIMITS.sessionWindowBytes))
  http2.once('remoteSettings', () => up(session))
  session.onClosed(() => fail('the peer closed the session before its settings'))
}

/** An alert that comes after our side of the handshake is still about certificates. */
function failureReason(stage: 'tls' | 'h2', code: string): TunnelFailure['reason'] {
  if (code === 'WEFT_PEER_REFUSED') return 'identity-mismatch'
  return stage === 'tls' || code.startsWith('ERR_SSL') ? 'tls-failed' : 'h2-failed'
}

function connectFailure(peer: TunnelPeer, error: unknown): string {
  const where = formatEndpoint(peer.address, peer.port)
  if (!(error instanceof KernelError)) return `connecting to ${where}: ${errorText(error)}`
  const hint =
    error.errnoName === 'ETIMEDOUT'
      ? ' (does a firewall or NetworkPolicy keep this port from the workload?)'
      : ''
  return `connecting to ${where}: ${error.errnoName}${hint}`
}
