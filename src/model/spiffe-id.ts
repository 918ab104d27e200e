// SPIFFE identities of the one shape Weft and Istio use: spiffe://TD/ns/NAMESPACE/sa/ACCOUNT.

/** A canonical identity string; made only by `formatSpiffeId` and `parseSpiffeId`. */
export type SpiffeId = string & { readonly __brand: 'SpiffeId' }

export interface SpiffeParts {
  readonly trustDomain: string
  readonly namespace: string
  readonly serviceAccount: string
}

const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/
const SEGMENT = /^[a-zA-Z0-9._-]{1,253}$/

const validSegment = (text: string): boolean => SEGMENT.test(text) && text !== '.' && text !== '..'

/** Throws when a part is not a valid segment: callers pass names that `api` has checked. */
export function formatSpiffeId(parts: SpiffeParts): SpiffeId {
  const text = `spiffe://${parts.trustDomain}/ns/${parts.namespace}/sa/${parts.serviceAccount}`
  if (parseSpiffeId(text) === undefined) throw new Error(`not a SPIFFE identity: ${text}`)
  return text as SpiffeId
}

/**
 * Strict, as ztunnel parses: exactly five segments, no port, query or fragment; undefined
 * otherwise. Source: SPIFFE-ID specification 2.1-2.4, ztunnel `identity/manager.rs`.
 */
export function parseSpiffeId(text: string): (SpiffeParts & { readonly id: SpiffeId }) | undefined {
  if (!text.startsWith('spiffe://') || text.length > 2048) return undefined
  const [trustDomain, ns, namespace, sa, serviceAccount, ...rest] = text.slice(9).split('/')
  if (rest.length > 0 || ns !== 'ns' || sa !== 'sa') return undefined
  if (trustDomain === undefined || namespace === undefined || serviceAccount === undefined) {
    return undefined
  }
  if (!TRUST_DOMAIN.test(trustDomain)) return undefined
  if (!validSegment(namespace) || !validSegment(serviceAccount)) return undefined
  return { trustDomain, namespace, serviceAccount, id: text as SpiffeId }
}
