import { once } from 'node:events'
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net'
import { createSecureContext, type SecureContext } from 'node:tls'
import test from 'ava'
import {
  CLIENT_AUTH,
  contextOf,
  DAY_MS,
  type Forged,
  forgeLeaf,
  forgeRoot,
  forgeRootNamedLike,
  rootPem,
  SERVER_AUTH,
} from '../testing/certificates.ts'
import { careless, meet, only, towards } from '../testing/handshake.ts'
import { acceptClient } from './accept-client.ts'
import { CertificateReader } from './certificate-facts.ts'
import { clientTlsOptions, contextOptions } from './tls-options.ts'

const WEB = 'spiffe://cluster.local/ns/shop/sa/web'
const API = 'spiffe://cluster.local/ns/shop/sa/api'

const root = await forgeRoot()
const otherRoot = await forgeRoot()
const apiLeaf = await forgeLeaf(root, { uris: [API] })
const webLeaf = await forgeLeaf(root, { uris: [WEB] })
const api = contextOf(apiLeaf, [root])
const web = contextOf(webLeaf, [root])

const nowMs = Date.now()
const clients: readonly (readonly [string, Forged, RegExp | 'accepted'])[] = [
  ['a good certificate', { uris: [WEB] }, 'accepted'],
  ['the wrong trust domain', { uris: ['spiffe://other/ns/shop/sa/web'] }, /trust domain "other"/],
  ['two URI names', { uris: [WEB, API] }, /names 2 URIs/],
  ['a URI name and a DNS name', { uris: [WEB], dnsNames: ['web.shop'] }, 'accepted'],
  ['a malformed URI name', { uris: ['spiffe://cluster.local/ns/shop'] }, /not a SPIFFE identity/],
  ['names given twice', { uris: [WEB], namesTwice: true }, /appears twice/],
  ['no URI name', { dnsNames: ['web.shop'] }, /names no URI/],
  ['an expired certificate', { uris: [WEB], notAfterMs: nowMs - 1000 }, /CERT_HAS_EXPIRED/],
  ['one not valid yet', { uris: [WEB], notBeforeMs: nowMs + 60_000 }, /CERT_NOT_YET_VALID/],
  ['no clientAuth', { uris: [WEB], ekus: [SERVER_AUTH] }, /INVALID_PURPOSE/],
  ['no purpose at all', { uris: [WEB], ekus: undefined }, /is not for clientAuth/],
  ['clientAuth alone', { uris: [WEB], ekus: [CLIENT_AUTH] }, 'accepted'],
  ['the certificate of an authority', { uris: [WEB], isCa: true }, /that of an authority/],
]

for (const [name, forged, expected] of clients) {
  test(`a client with ${name} is ${expected === 'accepted' ? 'accepted' : 'refused'}`, async (t) => {
    const { context } = contextOf(await forgeLeaf(root, forged), [root])
    const { accepted, client } = await meet(api, careless(context))
    if (expected === 'accepted') {
      t.is(accepted.kind === 'accepted' ? accepted.peer.id : '', WEB as never)
      t.is(client, 'echoed')
    } else {
      t.is(accepted.kind === 'refused' ? accepted.reason : 'accepted', 'identity-invalid')
      t.regex(accepted.kind === 'refused' ? accepted.detail : '', expected)
      t.not(client, 'echoed')
    }
  })
}

test('a client without a certificate is refused', async (t) => {
  const context = createSecureContext({ ca: rootPem(root), minVersion: 'TLSv1.3' })
  const { accepted, client } = await meet(api, careless(context))
  t.is(accepted.kind === 'refused' ? accepted.detail : '', 'the client presented no certificate')
  t.not(client, 'echoed')
})

test('a client of another root is refused', async (t) => {
  const stranger = contextOf(await forgeLeaf(otherRoot, { uris: [WEB] }), [root])
  const { accepted } = await meet(api, careless(stranger.context))
  t.regex(accepted.kind === 'refused' ? accepted.detail : '', /UNABLE_TO_|SELF_SIGNED/)
})

test('a client of a root with our name and another key is refused', async (t) => {
  const namesake = await forgeRootNamedLike(root)
  t.is(namesake.certificate.subject, root.certificate.subject)
  const impostor = contextOf(await forgeLeaf(namesake, { uris: [WEB] }), [root])
  const { accepted } = await meet(api, careless(impostor.context))
  t.is(accepted.kind, 'refused')
})

test('a client that does not speak h2 is refused', async (t) => {
  for (const ALPNProtocols of [['http/1.1'], []]) {
    const { accepted } = await meet(api, { ...careless(web.context), ALPNProtocols })
    t.is(accepted.kind, 'refused', String(ALPNProtocols))
  }
})

test('a client that speaks TLS 1.2 at most is refused', async (t) => {
  const context = createSecureContext({
    cert: webLeaf.pem,
    key: webLeaf.keyPem,
    maxVersion: 'TLSv1.2',
  })
  const { accepted } = await meet(api, careless(context))
  t.is(accepted.kind === 'refused' ? accepted.reason : '', 'tls-failed')
  t.regex(accepted.kind === 'refused' ? accepted.detail : '', /unsupported protocol/)
})

test('a client that sends no TLS is refused', async (t) => {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const client = connectTcp((listener.address() as AddressInfo).port, '127.0.0.1')
  client.on('error', () => {}).write('GET / HTTP/1.1\r\n\r\n')
  const [raw] = await once(listener, 'connection')
  const accepted = await acceptClient(raw, {
    presentation: only(api),
    nowMs,
    reader: new CertificateReader(),
    timeoutMs: 5000,
  })
  t.is(accepted.kind === 'refused' ? accepted.reason : '', 'tls-failed')
  client.destroy()
  listener.close()
})

test('a client that says nothing is refused in time', async (t) => {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const client = connectTcp((listener.address() as AddressInfo).port, '127.0.0.1')
  client.on('error', () => {})
  const [raw] = await once(listener, 'connection')
  const accepted = await acceptClient(raw, {
    presentation: only(api),
    nowMs,
    reader: new CertificateReader(),
    timeoutMs: 20,
  })
  t.deepEqual(accepted, {
    kind: 'refused',
    reason: 'tls-failed',
    detail: 'no handshake within 20 ms',
  })
  client.destroy()
  listener.close()
})

const servers: readonly (readonly [string, Forged, readonly string[], RegExp | 'accepted'])[] = [
  ['the expected identity', { uris: [API] }, [API], 'accepted'],
  ['one of several expected', { uris: [API] }, [WEB, API], 'accepted'],
  ['the expected identity among others', { uris: ['https://x', API] }, [API], 'accepted'],
  ['another identity', { uris: [WEB] }, [API], /expected ".*api", the server is ".*web"/],
  ['any identity when none is expected', { uris: [API] }, [], /no server identity is expected/],
  ['serverAuth alone', { uris: [API], ekus: [SERVER_AUTH] }, [API], 'accepted'],
  ['no serverAuth', { uris: [API], ekus: [CLIENT_AUTH] }, [API], /certificate purpose/],
  ['no purpose at all', { uris: [API], ekus: undefined }, [API], /is not for serverAuth/],
  ['an expired certificate', { uris: [API], notAfterMs: nowMs - 1000 }, [API], /has expired/],
  ['one not valid yet', { uris: [API], notBeforeMs: nowMs + 60_000 }, [API], /not yet valid/],
]

for (const [name, forged, expected, outcome] of servers) {
  test(`a server with ${name} is ${outcome === 'accepted' ? 'accepted' : 'refused'}`, async (t) => {
    const server = contextOf(await forgeLeaf(root, forged), [root])
    const { client } = await meet(server, towards(web, expected))
    if (outcome === 'accepted') t.is(client, 'echoed')
    else t.regex(client, outcome)
  })
}

test('a server of another root is refused', async (t) => {
  const stranger = contextOf(await forgeLeaf(otherRoot, { uris: [API] }), [root])
  const { client } = await meet(stranger, towards(web, [API]))
  t.regex(client, /unable to|self-signed/)
})

test('while roots overlap, both ends accept the old and the new one', async (t) => {
  const newApi = contextOf(await forgeLeaf(otherRoot, { uris: [API] }), [root, otherRoot])
  const oldWeb = contextOf(webLeaf, [root, otherRoot])
  const there = await meet(newApi, towards(oldWeb, [API]))
  t.deepEqual([there.client, there.accepted.kind], ['echoed', 'accepted'])
  const newWeb = contextOf(await forgeLeaf(otherRoot, { uris: [WEB] }), [root, otherRoot])
  const oldApi = contextOf(apiLeaf, [root, otherRoot])
  const back = await meet(oldApi, towards(newWeb, [API]))
  t.deepEqual([back.client, back.accepted.kind], ['echoed', 'accepted'])
})

test('two of ours agree on X25519MLKEM768 and send no server name', async (t) => {
  const { group, client, servername } = await meet(api, towards(web, [API]))
  t.is(client, 'echoed')
  t.is(group, 'X25519MLKEM768')
  t.is(servername, false)
})

const limited = (ecdhCurve: string): { readonly context: SecureContext } => ({
  context: createSecureContext({
    ...contextOptions({
      certificateChainPem: webLeaf.pem,
      keyPem: Buffer.from(webLeaf.keyPem),
      rootsPem: [rootPem(root)],
    }),
    ecdhCurve,
  }),
})

for (const [curve, group] of [
  ['P-256', 'prime256v1'],
  ['X25519', 'X25519'],
  ['P-256:X25519', 'prime256v1'],
]) {
  test(`a client that offers ${curve} is served`, async (t) => {
    const met = await meet(api, towards(limited(curve ?? ''), [API]))
    t.is(met.client, 'echoed')
    t.is(met.group, group as string)
  })
}

test('a server that knows only P-256 is reached', async (t) => {
  const server = {
    context: createSecureContext({
      ...contextOptions({
        certificateChainPem: apiLeaf.pem,
        keyPem: Buffer.from(apiLeaf.keyPem),
        rootsPem: [rootPem(root)],
      }),
      ecdhCurve: 'P-256',
    }),
  }
  const met = await meet(server, towards(web, [API]))
  t.deepEqual([met.client, met.group], ['echoed', 'prime256v1'])
})

test('a client that offers only P-384 is refused', async (t) => {
  const { accepted } = await meet(api, towards(limited('P-384'), [API]))
  t.is(accepted.kind === 'refused' ? accepted.reason : '', 'tls-failed')
})

test('a session is never resumed, so the certificate is checked every time', async (t) => {
  const first = await meet(api, towards(web, [API]))
  t.is(first.client, 'echoed')
  const session = first.session === undefined ? {} : { session: first.session }
  const second = await meet(api, { ...towards(web, [API]), ...session })
  t.is(second.client, 'echoed')
  t.false(second.resumed)
})

test('each validity is judged by the time given, not only by OpenSSL', async (t) => {
  const later = clientTlsOptions(web, { expected: [API], nowMs: () => Date.now() + 2 * DAY_MS })
  const { client } = await meet(api, later)
  t.regex(client, /^expired at /)
})
