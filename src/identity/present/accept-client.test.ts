// Several identities behind one address: which one a client is shown.
import { createSecureContext } from 'node:tls'
import test from 'ava'
import { contextOf, forgeLeaf, forgeRoot, rootPem } from '../testing/certificates.ts'
import { careless, meetAt } from '../testing/handshake.ts'
import type { Presentation, Shown } from './accept-client.ts'
import { serverNameOf } from './server-name.ts'
import { anonymousOptions, clientTlsOptions } from './tls-options.ts'

const WEB = 'spiffe://cluster.local/ns/shop/sa/web'
const API = 'spiffe://cluster.local/ns/shop/sa/api'
const ABROAD = 'spiffe://abroad/ns/shop/sa/db'
const CALLER = 'spiffe://cluster.local/ns/shop/sa/caller'

const root = await forgeRoot()
const otherRoot = await forgeRoot()
const shown = async (id: string, signer = root, roots = [root]): Promise<Shown> => ({
  id,
  ...contextOf(await forgeLeaf(signer, { uris: [id] }), roots),
})
const web = await shown(WEB)
const api = await shown(API)
const abroad = await shown(ABROAD)
const moved = await shown(API, otherRoot, [otherRoot])
const caller = contextOf(await forgeLeaf(root, { uris: [CALLER] }), [root, otherRoot])
const anonymous = createSecureContext(anonymousOptions())

function several(identities: readonly Shown[]): Presentation<Shown> {
  return {
    kind: 'several',
    unnamed: identities.length === 1 ? identities[0] : undefined,
    named: (name) => identities.find(({ id }) => serverNameOf(id) === name),
    anonymous,
  }
}

const asking = (name?: string, expected = [WEB, API, ABROAD]) =>
  clientTlsOptions(caller, { expected, nowMs: Date.now }, name)

const CASES: readonly (readonly [string, readonly Shown[], string | undefined, string])[] = [
  ['the first of two by its name', [web, api], serverNameOf(WEB), WEB],
  ['the second of two by its name', [web, api], serverNameOf(API), API],
  ['the only one by its name', [web], serverNameOf(WEB), WEB],
  ['the only one to a client that names none', [web], undefined, WEB],
  ['nobody of two to a client that names none', [web, api], undefined, 'names none of them'],
  ['nobody by a name of no identity', [web, api], serverNameOf(ABROAD), 'nobody here is "h-'],
  ['nobody by another name, though there is only one', [web], 'web.shop', 'nobody here is "web.'],
  ['nobody where there is nobody', [], serverNameOf(WEB), 'nobody here is "h-'],
  ['nobody where there is nobody to name', [], undefined, 'names none of them'],
]

for (const [title, identities, name, expected] of CASES) {
  test(`shows ${title}`, async (t) => {
    const { accepted, client } = await meetAt(several(identities), asking(name))
    if (accepted.kind === 'accepted') {
      t.is(accepted.identity.id, expected)
      t.is(client, 'echoed')
    } else {
      t.is(accepted.reason, 'tls-failed')
      t.true(accepted.detail.includes(expected), accepted.detail)
      t.not(client, 'echoed')
    }
  })
}

test('the certificate is that of the identity, not only the name', async (t) => {
  const { client } = await meetAt(several([web, api]), asking(serverNameOf(API), [WEB]))
  t.regex(client, /expected ".*web", the server is ".*api"/)
})

test('a name is nothing to a server that is only one', async (t) => {
  const one = { kind: 'one', identity: web } as const
  const { accepted, client } = await meetAt(one, asking(serverNameOf(API)))
  t.is(client, 'echoed')
  t.is(accepted.kind === 'accepted' ? accepted.identity.id : '', WEB)
})

test('the client is judged by the roots and the trust domain of whom it asked for', async (t) => {
  const all = several([web, moved, abroad])
  const roots = await meetAt(all, asking(serverNameOf(API)))
  t.regex(roots.accepted.kind === 'refused' ? roots.accepted.detail : '', /UNABLE_TO_|SELF_SIGNED/)
  const domain = await meetAt(all, asking(serverNameOf(ABROAD)))
  const detail = domain.accepted.kind === 'refused' ? domain.accepted.detail : ''
  t.regex(detail, /trust domain "cluster.local"/)
  t.is((await meetAt(all, asking(serverNameOf(WEB)))).client, 'echoed')
})

test('a client without a certificate is refused under every name', async (t) => {
  const context = createSecureContext({ ca: rootPem(root), minVersion: 'TLSv1.3' })
  const options = { ...careless(context), servername: serverNameOf(API) }
  const { accepted, client } = await meetAt(several([web, api]), options)
  t.is(accepted.kind === 'refused' ? accepted.reason : '', 'identity-invalid')
  t.not(client, 'echoed')
})
