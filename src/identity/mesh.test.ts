import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { systemClock } from '../base/clock.ts'
import { memoryLog } from '../base/log.ts'
import { systemRandom } from '../base/random.ts'
import type { IdentityMaterial } from '../model/messages.ts'
import type { Authority } from './issue/authority.ts'
import { CertificateKeeper } from './issue/keeper.ts'
import { IdentityStore, type WorkloadIdentity } from './present/identity-store.ts'
import { directory, open } from './testing/directory.ts'
import { meet, towards } from './testing/handshake.ts'

const WEB = 'spiffe://cluster.local/ns/shop/sa/web'
const API = 'spiffe://cluster.local/ns/shop/sa/api'

const onNode = (path: string, nodeName: string): Promise<Authority> =>
  open(path, { nodeName, clock: systemClock })

/** What a worker of a node holds after its keeper was asked for an identity. */
async function held(authority: Authority, id: string): Promise<WorkloadIdentity> {
  const store = new IdentityStore()
  const material = await new Promise<IdentityMaterial>((resolve) => {
    const keeper = new CertificateKeeper({
      source: authority,
      clock: systemClock,
      random: systemRandom,
      log: memoryLog(),
      onMaterial: (first) => {
        resolve({ ...first, keyPem: first.keyPem.slice(0) })
        keeper.stop()
      },
    })
    keeper.want(id)
  })
  store.set(material)
  const identity = store.get(id)
  if (identity === undefined) throw new Error(`no identity ${id}`)
  return identity
}

test('workloads of two nodes of one mesh prove their identities to each other', async (t) => {
  const path = directory(t)
  const web = await held(await onNode(path, 'one'), WEB)
  const api = await held(await onNode(path, 'two'), API)
  const met = await meet(api, towards(web, [API]))
  t.is(met.client, 'echoed')
  t.deepEqual<unknown, unknown>(met.accepted.kind === 'accepted' && met.accepted.peer, {
    kind: 'verified',
    id: WEB,
    by: 'mtls',
  })
})

test('workloads of two meshes refuse each other until they accept both roots', async (t) => {
  const paths = [directory(t), directory(t)] as const
  const one = await onNode(paths[0], 'one')
  const two = await onNode(paths[1], 'two')
  const before = await meet(await held(two, API), towards(await held(one, WEB), [API]))
  t.is(before.accepted.kind, 'refused')
  t.not(before.client, 'echoed')
  for (const [from, to] of [paths, [...paths].reverse()]) {
    mkdirSync(join(to as string, 'roots'))
    copyFileSync(join(from as string, 'root.crt'), join(to as string, 'roots/other.crt'))
  }
  const after = await meet(await held(two, API), towards(await held(one, WEB), [API]))
  t.is(after.accepted.kind, 'accepted')
  t.is(after.client, 'echoed')
})
