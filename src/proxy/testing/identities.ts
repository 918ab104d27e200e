// Certificates for the tests of this room: identities under one root, held as a worker holds them.

import type { Signer } from '../../identity/issue/certificates.ts'
import { IdentityStore, type WorkloadIdentity } from '../../identity/present/identity-store.ts'
import { forgeLeaf, forgeRoot, pemBytes, rootPem } from '../../identity/testing/certificates.ts'
import { formatSpiffeId } from '../../model/spiffe-id.ts'

export function spiffe(serviceAccount: string, namespace = 'default'): string {
  return formatSpiffeId({ trustDomain: 'cluster.local', namespace, serviceAccount })
}

const ROOT: Promise<Signer> = forgeRoot()

/** A store that holds a certificate for each of `ids`, with serial 1. */
export async function identityStore(...ids: readonly string[]): Promise<IdentityStore> {
  const store = new IdentityStore()
  for (const id of ids) await give(store, id, 1)
  return store
}

/** Issues a certificate, by the common root unless told, and hands it to the store. */
export async function give(
  store: IdentityStore,
  id: string,
  serial: number,
  otherRoots: readonly Signer[] = [],
  root?: Signer,
): Promise<void> {
  root ??= await ROOT
  const leaf = await forgeLeaf(root, { uris: [id] })
  store.set({
    id,
    certificateChainPem: leaf.pem,
    keyPem: pemBytes(leaf.keyPem),
    rootsPem: [root, ...otherRoots].map(rootPem),
    notAfterMs: Date.now() + 86_400_000,
    serial,
  })
}

export function held(store: IdentityStore, id: string): WorkloadIdentity {
  const identity = store.get(id)
  if (identity === undefined) throw new Error(`no certificate for ${id}`)
  return identity
}
