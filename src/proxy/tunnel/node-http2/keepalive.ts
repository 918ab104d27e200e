// Notices a peer that is gone without a word: pings a session and ends it when none comes back.
import type { Http2Session } from 'node:http2'
import type { Clock, Timer } from '../../../base/clock.ts'
import { LIMITS } from '../../../model/limits.ts'

/**
 * Stops by itself when the session closes. `onTimeout` must end the session. One that has said or
 * heard GOAWAY is not pinged, because Node refuses to; TCP keep-alive watches over its last streams.
 */
export function keepAlive(session: Http2Session, clock: Clock, onTimeout: () => void): void {
  let timer: Timer | undefined
  const next = (): void => {
    timer = clock.after(LIMITS.pingIntervalMs, ping)
  }
  const ping = (): void => {
    if (session.destroyed) return
    if (session.closed) {
      next()
      return
    }
    timer = clock.after(LIMITS.pingTimeoutMs, onTimeout)
    const answered = (): void => {
      if (session.destroyed) return
      timer?.cancel()
      next()
    }
    if (!session.ping(answered)) onTimeout()
  }
  session.once('close', () => timer?.cancel())
  next()
}
