// The embedded certificate authority of one node: a root shared by the mesh, an intermediate of this
// node's own, and leaves for the workloads on it. Runs in the main thread only.
import type { X509Certificate } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { errorText } from '../../base/mesh-error.ts'
import { parseSpiffeId, type SpiffeId } from '../../model/spiffe-id.ts'
import { acceptedRoots, type Issuer } from './authority-checks.ts'
import { type AuthorityPaths, authorityPaths, failed } from './authority-files.ts'
import { isEnding, type OpenedIssuer, openIssuer } from './authority-issuer.ts'
import { generateKey, keyToPem, makeLeaf, validityOf } from './certificates.ts'
import type { CertificateSource, IssuedCertificate } from './source.ts'

export interface AuthorityOptions {
  /** Shared by the agents of a mesh, on one filesystem with hard links. */
  readonly directory: string
  readonly nodeName: string
  readonly trustDomain: string
  readonly clock: Clock
  readonly log: Log
  /** Ten years, unless told otherwise. */
  readonly rootTtlMs?: number
  /** One year, unless told otherwise. */
  readonly intermediateTtlMs?: number
}

export interface Authority extends CertificateSource {
  /** Accepted roots as last read. */
  readonly rootsPem: readonly string[]
  /** Reads the accepted roots now, and the intermediate at the next issue: an operator has
   * replaced some. Resolves with the roots, also when the intermediate leads to none of them. */
  reload(): Promise<readonly string[]>
  /** Lets go of the signing key; `issue` rejects afterwards. */
  close(): void
}

const DAY_MS = 86_400_000
const ROOT_TTL_MS = 3650 * DAY_MS
const INTERMEDIATE_TTL_MS = 365 * DAY_MS
/** Clocks of other nodes may be behind ours. Source: Istio, which does the same. */
const LEAF_BACKDATE_MS = 60_000

/**
 * Opens the authority in `directory`, making what is missing. Layout: `root.key`, `root.crt`,
 * `roots/*.crt` (further accepted roots, for rotation), `nodes/NODE/intermediate.{key,crt}`. Bring
 * your own: without `root.key`, the intermediate must be there and lead to `root.crt` or a file of
 * `roots/`. Any number of agents may open one directory at once; they end up with one root.
 * Rejects with `MeshError('identity.authority')`, whose message names the file and the remedy.
 */
export async function openAuthority(options: AuthorityOptions): Promise<Authority> {
  const { directory, nodeName, trustDomain, log } = options
  if (!/^[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,252}$/.test(nodeName)) {
    throw failed(`the node name "${nodeName}" cannot name a directory: use letters, digits, . _ -`)
  }
  if (parseSpiffeId(`spiffe://${trustDomain}/ns/x/sa/x`) === undefined) {
    throw failed(`"${trustDomain}" is not a trust domain: use lower-case letters, digits, . _ -`)
  }
  const authority = new EmbeddedAuthority(options, authorityPaths(directory, nodeName))
  const opened = await authority.open()
  log.info('authority.opened', {
    directory,
    roots: opened.roots.length,
    ownsRoot: opened.ownsRoot,
    intermediateUntil: opened.issuer.certificate.validToDate.toISOString(),
  })
  return authority
}

class EmbeddedAuthority implements Authority {
  readonly #options: AuthorityOptions
  readonly #paths: AuthorityPaths
  #issuer: Issuer | undefined
  #roots: readonly X509Certificate[] = []
  #opening: Promise<OpenedIssuer> | undefined
  #closed = false

  constructor(options: AuthorityOptions, paths: AuthorityPaths) {
    this.#options = options
    this.#paths = paths
  }

  get rootsPem(): readonly string[] {
    return this.#roots.map((root) => root.toString())
  }

  /** Single flight. */
  open(): Promise<OpenedIssuer> {
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  async issue(id: SpiffeId, ttlMs: number): Promise<IssuedCertificate> {
    const { trustDomain, clock, log } = this.#options
    if (parseSpiffeId(id)?.trustDomain !== trustDomain) {
      throw failed(`"${id}" is not an identity of the trust domain "${trustDomain}"`)
    }
    if (this.#closed) throw failed('the authority is closed: the agent is stopping')
    const issuer = await this.#currentIssuer()
    // Read each time, so that a root added for rotation reaches workloads as they renew.
    this.#roots = await acceptedRoots(this.#paths, clock.nowMs(), log)
    const nowMs = clock.nowMs()
    const key = await generateKey()
    const leaf = await makeLeaf(issuer, key, id, {
      notBeforeMs: Math.max(nowMs - LEAF_BACKDATE_MS, issuer.bounds.notBeforeMs),
      notAfterMs: Math.min(nowMs + ttlMs, issuer.bounds.notAfterMs),
    })
    return {
      id,
      certificateChainPem: [leaf, ...issuer.chain].map((link) => link.toString()).join(''),
      keyPem: bytesOf(keyToPem(key)),
      rootsPem: this.rootsPem,
      ...validityOf(leaf),
    }
  }

  async reload(): Promise<readonly string[]> {
    const { clock, log } = this.#options
    this.#issuer = undefined
    this.#roots = await acceptedRoots(this.#paths, clock.nowMs(), log)
    return this.rootsPem
  }

  close(): void {
    this.#closed = true
    this.#issuer = undefined
  }

  async #open(): Promise<OpenedIssuer> {
    const { nodeName, trustDomain, clock, log } = this.#options
    const opened = await openIssuer(
      { paths: this.#paths, clock, log },
      {
        nodeName,
        trustDomain,
        rootTtlMs: this.#options.rootTtlMs ?? ROOT_TTL_MS,
        intermediateTtlMs: this.#options.intermediateTtlMs ?? INTERMEDIATE_TTL_MS,
      },
    )
    this.#issuer = opened.issuer
    this.#roots = opened.roots
    if (isEnding(opened.issuer.certificate, clock.nowMs())) {
      log.warn('authority.intermediate-ending', {
        file: this.#paths.intermediateCertificate,
        until: opened.issuer.certificate.validToDate.toISOString(),
        remedy: 'replace the intermediate certificate and key of this node',
      })
    }
    return opened
  }

  /** The intermediate, renewed, or read again if it was brought, when its end is near. */
  async #currentIssuer(): Promise<Issuer> {
    const { clock, log } = this.#options
    const held = this.#issuer
    if (held !== undefined && !isEnding(held.certificate, clock.nowMs())) return held
    try {
      return (await this.open()).issuer
    } catch (error) {
      if (held === undefined || held.bounds.notAfterMs <= clock.nowMs()) throw error
      log.error('authority.intermediate-not-renewed', { error: errorText(error) })
      return held
    }
  }
}

function bytesOf(text: string): ArrayBuffer {
  const bytes = new Uint8Array(new ArrayBuffer(text.length))
  new TextEncoder().encodeInto(text, bytes)
  return bytes.buffer
}
