// Sends one workload's questions on to the resolvers it asked, and waits for as long as anybody
// would: a bounded number at once, the oldest of which gives way.
import type { Clock, Timer } from '../../base/clock.ts'
import { formatEndpoint } from '../../base/ip.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { LIMITS } from '../../model/limits.ts'
import type { DnsMeter } from '../../telemetry/dns-cells.ts'
import type { Address } from '../connection.ts'
import { type Question, ResolverSocket } from './resolver-socket.ts'

export interface ForwarderParts {
  readonly kernel: Pick<Kernel, 'bindUdp' | 'closeFd'>
  readonly clock: Clock
  readonly newId: () => number
  readonly meter: DnsMeter
}

interface Waiting {
  readonly question: Question
  readonly socket: ResolverSocket
  readonly untilMs: number
}

/** How often it is looked for what waits in vain. */
const TICK_MS = 1_000

export class Forwarder {
  readonly #parts: ForwarderParts
  readonly #namespaceFd: number
  /** The first waits longest. */
  readonly #waiting = new Set<Waiting>()
  /** The first is the oldest; when each was made. */
  readonly #sockets = new Map<ResolverSocket, number>()
  /** For the next question, by resolver. */
  readonly #current = new Map<string, ResolverSocket>()
  #tick: Timer | undefined

  constructor(parts: ForwarderParts, namespaceFd: number) {
    this.#parts = parts
    this.#namespaceFd = namespaceFd
  }

  get inFlight(): number {
    return this.#waiting.size
  }

  get sockets(): number {
    return this.#sockets.size
  }

  ask(resolver: Address, question: Question): void {
    this.#parts.meter.count('forwarded')
    this.#send(resolver, question, false)
  }

  #send(resolver: Address, asked: Question, isAgain: boolean): void {
    const { meter, clock } = this.#parts
    const { query, answered, refused } = asked
    if (this.#waiting.size >= LIMITS.dnsInFlightMax) this.#dropOldest()
    const socket = this.#socketTo(resolver)
    const question: Question = {
      query,
      answered: (answer) => {
        this.#settle(waiting)
        answered(answer)
      },
      refused: () => {
        this.#settle(waiting)
        if (socket.isStale) {
          this.#setAside(socket)
          if (!isAgain) return this.#send(resolver, asked, true)
        }
        meter.count('refused')
        refused()
      },
    }
    const waiting = { question, socket, untilMs: clock.nowMs() + LIMITS.dnsSilenceMs }
    this.#waiting.add(waiting)
    meter.inFlight(1)
    socket.ask(question)
    this.#arm()
  }

  /** Whoever waits is not told. */
  stop(): void {
    this.#tick?.cancel()
    this.#tick = undefined
    for (const waiting of [...this.#waiting]) this.#settle(waiting)
    for (const socket of [...this.#sockets.keys()]) this.#close(socket)
  }

  #socketTo(resolver: Address): ResolverSocket {
    const key = formatEndpoint(resolver.ip, resolver.port)
    const nowMs = this.#parts.clock.nowMs()
    const current = this.#current.get(key)
    const bornMs = current === undefined ? undefined : this.#sockets.get(current)
    if (current !== undefined && bornMs !== undefined && isYoung(bornMs, nowMs)) return current
    const [oldest] = this.#sockets.keys()
    if (oldest !== undefined && this.#sockets.size >= LIMITS.dnsSocketsMax) this.#abandon(oldest)
    const { kernel, newId, meter } = this.#parts
    const socket = new ResolverSocket(
      { kernel, newId, onStray: () => meter.count('stray') },
      resolver,
    )
    this.#sockets.set(socket, nowMs)
    this.#current.set(key, socket)
    void socket.open(this.#namespaceFd)
    return socket
  }

  /** The next question gets another; what was sent may still be answered. */
  #setAside(socket: ResolverSocket): void {
    const key = formatEndpoint(socket.resolver.ip, socket.resolver.port)
    if (this.#current.get(key) === socket) this.#current.delete(key)
  }

  #dropOldest(): void {
    const [oldest] = this.#waiting
    if (oldest === undefined) return
    oldest.socket.forget(oldest.question)
    this.#settle(oldest)
    this.#parts.meter.count('dropped')
  }

  #abandon(socket: ResolverSocket): void {
    for (const waiting of [...this.#waiting]) {
      if (waiting.socket !== socket) continue
      this.#settle(waiting)
      this.#parts.meter.count('dropped')
    }
    this.#close(socket)
  }

  #close(socket: ResolverSocket): void {
    this.#setAside(socket)
    this.#sockets.delete(socket)
    socket.close()
  }

  #settle(waiting: Waiting): void {
    if (this.#waiting.delete(waiting)) this.#parts.meter.inFlight(-1)
  }

  #arm(): void {
    this.#tick ??= this.#parts.clock.after(TICK_MS, () => {
      this.#tick = undefined
      this.#forgetSilent()
      if (this.#sockets.size > 0) this.#arm()
    })
  }

  #forgetSilent(): void {
    const nowMs = this.#parts.clock.nowMs()
    for (const waiting of this.#waiting) {
      if (waiting.untilMs > nowMs) break
      waiting.socket.forget(waiting.question)
      this.#settle(waiting)
      this.#parts.meter.count('silent')
    }
    for (const [socket, bornMs] of [...this.#sockets]) {
      if (socket.size === 0 && !isYoung(bornMs, nowMs)) this.#close(socket)
    }
  }
}

function isYoung(bornMs: number, nowMs: number): boolean {
  return nowMs - bornMs < LIMITS.dnsSocketAgeMs
}
