// Keeps a valid certificate for every identity that workloads of this node need, and renews each in
// time. Runs in the main thread; the workers receive what it emits.
import type { Clock, Timer } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { errorText, MeshError } from '../../base/mesh-error.ts'
import type { Random } from '../../base/random.ts'
import { DEFAULT_MESH_SETTINGS } from '../../model/mesh-settings.ts'
import type { IdentityMaterial } from '../../model/messages.ts'
import { parseSpiffeId, type SpiffeId } from '../../model/spiffe-id.ts'
import type { CertificateSource, IssuedCertificate } from './source.ts'

export interface KeeperParts {
  readonly source: CertificateSource
  readonly clock: Clock
  readonly log: Log
  readonly random: Random
  /**
   * Told the first certificate of an identity and each one after it. `keyPem` stays the keeper's,
   * which zeroes it when it is replaced or forgotten: copy it before handing it on.
   */
  readonly onMaterial: (material: IdentityMaterial) => void
}

export interface KeeperOptions {
  /** Lifetime to ask for; asked for each certificate, as it is configured for the mesh. */
  readonly ttlMs?: () => number | undefined
  /** Requests to the source at once. */
  readonly concurrency?: number
  /** A request without an answer counts as failed. */
  readonly issueTimeoutMs?: number
}

/** What is held, or waited for, without its key. */
export interface HeldCertificate {
  readonly id: SpiffeId
  readonly state: 'valid' | 'expired' | 'awaited'
  /** Leaf first; undefined while the first is awaited. */
  readonly certificateChainPem: string | undefined
  /** When the next one is asked for; undefined while it is being asked for. */
  readonly renewAtMs: number | undefined
  /** Since the last success. */
  readonly failures: number
  readonly failure: string | undefined
}

interface Entry {
  readonly id: SpiffeId
  uses: number
  failures: number
  failure: string | undefined
  renewAtMs: number | undefined
  current: IdentityMaterial | undefined
  timer: Timer | undefined
  /** Waiting for a place or for the source: not to be queued again. */
  busy: boolean
  /** Asked for while one was being issued, which may know less. */
  again: boolean
}

const CONCURRENCY = 8
const ISSUE_TIMEOUT_MS = 30_000
/** Source: ztunnel `identity/manager.rs`, as are doubling, spread and half-life. */
const BACKOFF_FIRST_MS = 1_000
const BACKOFF_MAX_MS = 150_000
const BACKOFF_SPREAD = 0.2
/** A source that answers with certificates about to end must not be asked in a loop. */
const RENEWAL_DELAY_MIN_MS = 1_000

export class CertificateKeeper {
  readonly #parts: KeeperParts
  readonly #ttlMs: () => number | undefined
  readonly #concurrency: number
  readonly #issueTimeoutMs: number
  readonly #entries = new Map<string, Entry>()
  /** First certificates: workloads wait for them. */
  readonly #urgent: Entry[] = []
  readonly #renewals: Entry[] = []
  #running = 0
  #serial = 0
  #stopped = false

  constructor(parts: KeeperParts, options: KeeperOptions = {}) {
    this.#parts = parts
    this.#ttlMs = options.ttlMs ?? (() => undefined)
    this.#concurrency = options.concurrency ?? CONCURRENCY
    this.#issueTimeoutMs = options.issueTimeoutMs ?? ISSUE_TIMEOUT_MS
  }

  /** Counted: as many `forget` calls end it. Throws for what is no SPIFFE identity. */
  want(wanted: string): void {
    if (this.#stopped) return
    const id = parseSpiffeId(wanted)?.id
    if (id === undefined) throw new MeshError('identity.want', `not an identity: ${wanted}`)
    const held = this.#entries.get(id)
    if (held !== undefined) {
      held.uses++
      return
    }
    const entry: Entry = {
      id,
      uses: 1,
      failures: 0,
      failure: undefined,
      renewAtMs: undefined,
      current: undefined,
      timer: undefined,
      busy: false,
      again: false,
    }
    this.#entries.set(id, entry)
    this.#enqueue(entry)
  }

  forget(id: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined || --entry.uses > 0) return
    this.#entries.delete(id)
    this.#drop(entry)
  }

  /** What was emitted last for an identity; undefined before the first certificate. */
  current(id: string): IdentityMaterial | undefined {
    return this.#entries.get(id)?.current
  }

  /** Everything held, for a worker that starts late. */
  materials(): readonly IdentityMaterial[] {
    return [...this.#entries.values()].flatMap((entry) => entry.current ?? [])
  }

  held(): readonly HeldCertificate[] {
    const nowMs = this.#parts.clock.nowMs()
    return [...this.#entries.values()].map(({ id, current, renewAtMs, failures, failure }) => {
      const certificateChainPem = current?.certificateChainPem
      const state =
        current === undefined ? 'awaited' : current.notAfterMs > nowMs ? 'valid' : 'expired'
      return { id, state, certificateChainPem, renewAtMs, failures, failure }
    })
  }

  /** Renews all at once, for example after the accepted roots changed. */
  renewAll(): void {
    for (const entry of this.#entries.values()) this.#enqueue(entry)
  }

  /** Ends renewal and zeroes every key. */
  stop(): void {
    this.#stopped = true
    for (const entry of this.#entries.values()) this.#drop(entry)
    this.#entries.clear()
    this.#urgent.length = 0
    this.#renewals.length = 0
  }

  #enqueue(entry: Entry): void {
    if (entry.busy) {
      entry.again = true
      return
    }
    entry.timer?.cancel()
    entry.timer = undefined
    entry.renewAtMs = undefined
    entry.busy = true
    const queue = entry.current === undefined ? this.#urgent : this.#renewals
    queue.push(entry)
    this.#pump()
  }

  #pump(): void {
    while (this.#running < this.#concurrency) {
      const entry = this.#urgent.shift() ?? this.#renewals.shift()
      if (entry === undefined) return
      if (!this.#isHeld(entry)) continue
      this.#running++
      void this.#renew(entry).finally(() => {
        this.#running--
        this.#pump()
      })
    }
  }

  /** Never rejects. */
  async #renew(entry: Entry): Promise<void> {
    const { clock, log } = this.#parts
    try {
      const issued = await this.#issue(entry.id)
      entry.busy = false
      if (!this.#isHeld(entry)) return zero(issued.keyPem)
      entry.failures = 0
      entry.failure = undefined
      this.#emit(entry, issued)
      if (entry.again) {
        entry.again = false
        return this.#enqueue(entry)
      }
      const halfMs = issued.notBeforeMs + (issued.notAfterMs - issued.notBeforeMs) / 2
      this.#retryAfter(entry, Math.max(halfMs - clock.nowMs(), RENEWAL_DELAY_MIN_MS))
    } catch (error) {
      entry.busy = false
      if (!this.#isHeld(entry)) return
      const delayMs = this.#backoffMs(++entry.failures)
      entry.failure = errorText(error)
      log.warn('identity.not-renewed', {
        id: entry.id,
        error: errorText(error),
        failures: entry.failures,
        retryInMs: Math.round(delayMs),
        heldUntil: entry.current && new Date(entry.current.notAfterMs).toISOString(),
      })
      this.#retryAfter(entry, delayMs)
    }
  }

  /** The source's answer, checked: a certificate for somebody else must never be handed on. */
  #issue(id: SpiffeId): Promise<IssuedCertificate> {
    const { source, clock } = this.#parts
    return new Promise((resolve, reject) => {
      const timeout = clock.after(this.#issueTimeoutMs, () =>
        reject(new Error(`no answer within ${this.#issueTimeoutMs} ms`)),
      )
      source
        .issue(id, this.#ttlMs() ?? DEFAULT_MESH_SETTINGS.certificateTtlMs)
        .then((issued) => {
          if (issued.id !== id) throw new Error(`the source answered for ${issued.id}`)
          if (issued.notAfterMs <= clock.nowMs()) throw new Error('the certificate has expired')
          resolve(issued)
        })
        .catch(reject)
        .finally(() => timeout.cancel())
    })
  }

  #emit(entry: Entry, issued: IssuedCertificate): void {
    const previous = entry.current
    const { id, certificateChainPem, keyPem, rootsPem, notAfterMs } = issued
    const serial = ++this.#serial
    const material = { id, certificateChainPem, keyPem, rootsPem, notAfterMs, serial }
    entry.current = material
    this.#parts.onMaterial(material)
    if (previous !== undefined) zero(previous.keyPem)
  }

  #retryAfter(entry: Entry, delayMs: number): void {
    entry.renewAtMs = this.#parts.clock.nowMs() + delayMs
    entry.timer = this.#parts.clock.after(delayMs, () => {
      entry.timer = undefined
      if (this.#isHeld(entry)) this.#enqueue(entry)
    })
  }

  #backoffMs(failures: number): number {
    const baseMs = Math.min(BACKOFF_FIRST_MS * 2 ** Math.min(failures - 1, 20), BACKOFF_MAX_MS)
    return baseMs * (1 + BACKOFF_SPREAD * (2 * this.#parts.random() - 1))
  }

  #isHeld(entry: Entry): boolean {
    return this.#entries.get(entry.id) === entry
  }

  #drop(entry: Entry): void {
    entry.timer?.cancel()
    if (entry.current !== undefined) zero(entry.current.keyPem)
  }
}

function zero(key: ArrayBuffer): void {
  if (!key.detached) new Uint8Array(key).fill(0)
}
