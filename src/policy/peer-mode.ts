// Which transports a workload accepts: resolves PeerAuthentication, and judges a connection by it.
import type { MtlsMode, PeerMode } from '../model/authorization.ts'
import type { PeerIdentity, Verdict } from '../model/facts.ts'
import type { PeerAuthentication } from '../model/registry.ts'
import { type Selectable, selects } from './select.ts'

const DEFAULT_MODE: MtlsMode = 'permissive'

/**
 * Workload over namespace over mesh (no selector, in the root namespace); the oldest of a scope
 * wins, then the lesser key. UNSET inherits from the next wider scope and ends at permissive; an
 * UNSET port inherits the workload's mode. Ports count only beside a selector, and are workload
 * ports. A selector in the root namespace reaches the workloads of that namespace alone.
 * Source: Istio PeerAuthentication.
 */
export function resolvePeerMode(
  workload: Selectable,
  peerAuthentications: Iterable<PeerAuthentication>,
  rootNamespace: string,
): PeerMode {
  let own: PeerAuthentication | undefined
  let namespace: PeerAuthentication | undefined
  let mesh: PeerAuthentication | undefined
  for (const candidate of peerAuthentications) {
    const local = candidate.namespace === workload.namespace
    if (hasSelector(candidate)) {
      if (local && selects(candidate.selector, workload.labels)) own = older(own, candidate)
    } else {
      if (local) namespace = older(namespace, candidate)
      if (candidate.namespace === rootNamespace) mesh = older(mesh, candidate)
    }
  }
  const setter = [own, namespace, mesh].find((scope) => isSet(scope))
  const mode = setter === undefined ? DEFAULT_MODE : modeOr(setter.mode, DEFAULT_MODE)
  const ports: Record<string, MtlsMode> = {}
  for (const [port, wanted] of Object.entries(own?.ports ?? {})) ports[port] = modeOr(wanted, mode)
  const portsBy = own !== undefined && Object.keys(ports).length > 0 ? own : undefined
  return { mode, ports, by: (setter ?? portsBy)?.key ?? 'default' }
}

/**
 * Whether the transport is acceptable at a workload port, before any AuthorizationPolicy. STRICT
 * refuses plaintext; an identity attested by the kernel passes it, as its bytes never left the
 * node. DISABLE refuses nothing, like PERMISSIVE: that is what it means in ambient mode. An
 * invalid identity is refused in every mode.
 */
export function acceptTransport(mode: PeerMode, port: number, peer: PeerIdentity): Verdict {
  switch (peer.kind) {
    case 'verified':
      return { kind: 'allow', by: mode.by }
    case 'invalid':
      return { kind: 'deny', reason: 'identity-invalid', by: 'invalid-identity' }
    case 'absent':
      return modeAt(mode, port) === 'strict'
        ? { kind: 'deny', reason: 'plaintext-denied', by: mode.by }
        : { kind: 'allow', by: mode.by }
  }
}

/** The mode at one workload port. */
export function modeAt(mode: PeerMode, port: number): MtlsMode {
  return mode.ports[port] ?? mode.mode
}

function hasSelector(candidate: PeerAuthentication): boolean {
  return candidate.selector !== undefined && Object.keys(candidate.selector).length > 0
}

function isSet(scope: PeerAuthentication | undefined): boolean {
  return scope !== undefined && scope.mode !== 'unset'
}

function modeOr(mode: PeerAuthentication['mode'], inherited: MtlsMode): MtlsMode {
  return mode === 'unset' ? inherited : mode
}

function older(held: PeerAuthentication | undefined, next: PeerAuthentication): PeerAuthentication {
  if (held === undefined || next.createdMs < held.createdMs) return next
  return next.createdMs === held.createdMs && next.key < held.key ? next : held
}
