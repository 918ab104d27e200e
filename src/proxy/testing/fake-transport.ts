// A tunnel transport in memory whose peer is the test: it decides when dials succeed and what
// becomes of requests.
import { err, ok, type Result } from '../../base/result.ts'
import type { WorkloadIdentity } from '../../identity/present/identity-store.ts'
import type { LocalPod } from '../../model/messages.ts'
import type {
  OpenStream,
  ServeOutcome,
  TunnelFailure,
  TunnelPeer,
  TunnelSession,
  TunnelTransport,
} from '../tunnel/port.ts'
import { ScriptedStream } from './scripted-stream.ts'

export interface FakeDial {
  readonly peer: TunnelPeer
  readonly identity: WorkloadIdentity
  readonly from: LocalPod
  readonly signal: AbortSignal
  succeed(): FakeSession
  fail(failure?: TunnelFailure): void
}

export class FakeSession implements TunnelSession {
  streamsMax = 100
  openStreams = 0
  queuedBytes = 0
  closing = false
  retired = false
  destroyed = false
  opened = 0
  /** What the next requests are answered with; undefined accepts. */
  failNext: TunnelFailure | undefined
  readonly #onClosing: (() => void)[] = []
  readonly #onClosed: (() => void)[] = []

  async open(): Promise<Result<OpenStream, TunnelFailure>> {
    this.opened++
    const failure = this.failNext
    if (failure !== undefined) return err(failure)
    this.openStreams++
    return ok({ stream: new ScriptedStream(1_000), headers: {} })
  }

  closeStreams(count: number): void {
    this.openStreams -= count
    if (this.retired && this.openStreams === 0) this.#gone()
  }

  retire(): void {
    this.retired = true
    this.#leave()
    if (this.openStreams === 0) this.#gone()
  }

  destroy(): void {
    this.destroyed = true
    this.#leave()
    this.#gone()
  }

  /** The peer said GOAWAY or the connection broke. */
  die(): void {
    this.destroy()
  }

  onClosing(handler: () => void): void {
    this.#onClosing.push(handler)
  }

  onClosed(handler: () => void): void {
    this.#onClosed.push(handler)
  }

  #leave(): void {
    if (this.closing) return
    this.closing = true
    for (const handler of this.#onClosing) handler()
  }

  #gone(): void {
    for (const handler of this.#onClosed.splice(0)) handler()
  }
}

export class FakeTransport implements TunnelTransport {
  readonly dials: FakeDial[] = []

  dial(
    peer: TunnelPeer,
    identity: WorkloadIdentity,
    from: LocalPod,
    _timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Result<TunnelSession, TunnelFailure>> {
    return new Promise((resolve) => {
      this.dials.push({
        peer,
        identity,
        from,
        signal,
        succeed() {
          const session = new FakeSession()
          resolve(ok(session))
          return session
        },
        fail(failure = { reason: 'connect-failed', detail: 'ECONNREFUSED' }) {
          resolve(err(failure))
        },
      })
    })
  }

  serve(): Promise<Result<ServeOutcome, TunnelFailure>> {
    return Promise.resolve(err({ reason: 'internal', detail: 'the fake serves nobody' }))
  }
}
