import test from 'ava'
import type { IdentityMaterial } from '../../model/messages.ts'
import { forgeLeaf, forgeRoot, pemBytes, rootPem } from '../testing/certificates.ts'
import { IdentityStore, type WorkloadIdentity } from './identity-store.ts'

const WEB = 'spiffe://cluster.local/ns/shop/sa/web'
const root = await forgeRoot()
const leaf = await forgeLeaf(root, { uris: [WEB] })
const other = await forgeLeaf(root, { uris: [WEB] })

const material = (serial: number, fields: Partial<IdentityMaterial> = {}): IdentityMaterial => ({
  id: WEB,
  certificateChainPem: leaf.pem,
  keyPem: pemBytes(leaf.keyPem),
  rootsPem: [rootPem(root)],
  notAfterMs: 1000 + serial,
  serial,
  ...fields,
})

const isZeroed = (key: ArrayBuffer) => new Uint8Array(key).every((byte) => byte === 0)

test('what is set can be got, and its key is zeroed', (t) => {
  const store = new IdentityStore()
  const given = material(1)
  store.set(given)
  t.like(store.get(WEB), { id: WEB, serial: 1, notAfterMs: 1001, rootsPem: given.rootsPem })
  t.true(isZeroed(given.keyPem))
})

test('an identity that is unknown or forgotten is absent', (t) => {
  const store = new IdentityStore()
  t.is(store.get(WEB), undefined)
  store.set(material(1))
  store.forget(WEB)
  t.is(store.get(WEB), undefined)
})

test('replacement is told with both certificates until it is no longer wanted', (t) => {
  const store = new IdentityStore()
  const told: (readonly [number, number | undefined])[] = []
  const stop = store.onReplaced((current: WorkloadIdentity, previous) => {
    told.push([current.serial, previous?.serial])
  })
  store.set(material(1))
  store.set(material(2, { certificateChainPem: other.pem, keyPem: pemBytes(other.keyPem) }))
  stop()
  store.set(material(3))
  t.deepEqual(told, [
    [1, undefined],
    [2, 1],
  ])
})

test('material older than what is held is ignored, and its key zeroed', (t) => {
  const store = new IdentityStore()
  store.set(material(2))
  for (const serial of [1, 2]) {
    const late = material(serial, { notAfterMs: 5 })
    store.set(late)
    t.true(isZeroed(late.keyPem))
  }
  t.is(store.get(WEB)?.notAfterMs, 1002)
})

const flaws: readonly (readonly [string, Partial<IdentityMaterial>, RegExp])[] = [
  ['a key of another certificate', { keyPem: pemBytes(other.keyPem) }, /key values mismatch/],
  ['no key', { keyPem: pemBytes('x') }, /cannot use the certificate of spiffe/],
  ['no certificate', { certificateChainPem: 'x' }, /cannot use the certificate of spiffe/],
  ['a name that is no identity', { id: 'web' }, /it is not a SPIFFE identity/],
  ['no root, which would mean the roots of the web', { rootsPem: [] }, /it comes without a root/],
]

for (const [name, fields, message] of flaws) {
  test(`${name} is refused, the key zeroed, what was held kept`, (t) => {
    const store = new IdentityStore()
    store.set(material(1))
    const bad = material(2, fields)
    t.throws(() => store.set(bad), { code: 'identity.context', message } as never)
    t.true(isZeroed(bad.keyPem))
    t.is(store.get(WEB)?.serial, 1)
    t.is(store.get('web'), undefined)
  })
}
