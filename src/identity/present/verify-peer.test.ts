import test from 'ava'
import type { PeerIdentity } from '../../model/facts.ts'
import { EKU_CLIENT_AUTH, EKU_SERVER_AUTH } from './certificate-facts.ts'
import { type PresentedCertificate, verifyClient, verifyServer } from './verify-peer.ts'

const NOW_MS = 1_000_000
const WEB = 'spiffe://cluster.local/ns/shop/sa/web'
const API = 'spiffe://cluster.local/ns/shop/sa/api'

const certificate = (fields: Partial<PresentedCertificate> = {}): PresentedCertificate => ({
  uriSans: [WEB],
  notBeforeMs: NOW_MS - 1000,
  notAfterMs: NOW_MS + 1000,
  ekus: [EKU_SERVER_AUTH, EKU_CLIENT_AUTH],
  isCa: false,
  chainTrusted: true,
  ...fields,
})

type Case = readonly [string, Partial<PresentedCertificate> | undefined, RegExp | 'verified']

/** Refused at both ends. */
const common: readonly Case[] = [
  ['a good certificate', {}, 'verified'],
  ['no certificate', undefined, /presented no certificate/],
  ['a wrong root', { chainTrusted: false, chainError: 'X' }, /chain is not trusted: X/],
  ['an untrusted chain without a word', { chainTrusted: false }, /chain is not trusted: unknown/],
  ['an expired certificate', { notAfterMs: NOW_MS - 1 }, /expired at 1970-01-01T00:16:39.999Z/],
  ['a certificate in its last millisecond', { notAfterMs: NOW_MS }, 'verified'],
  ['a certificate that is not valid yet', { notBeforeMs: NOW_MS + 1 }, /not valid before 1970/],
  ['a certificate in its first millisecond', { notBeforeMs: NOW_MS }, 'verified'],
  ['the certificate of an authority', { isCa: true }, /that of an authority/],
  ['a certificate without purposes', { ekus: [] }, /is not for (client|server)Auth/],
  ['a certificate for anything', { ekus: ['2.5.29.37.0'] }, /is not for (client|server)Auth/],
]

const clients: readonly Case[] = [
  ['no alternative name', { uriSans: [] }, /names no URI/],
  ['two identities', { uriSans: [WEB, API] }, /names 2 URIs, not one/],
  ['an identity and another URI', { uriSans: [WEB, 'https://x'] }, /names 2 URIs, not one/],
  ['the same identity twice', { uriSans: [WEB, WEB] }, /names 2 URIs, not one/],
  [
    'another trust domain',
    { uriSans: ['spiffe://other/ns/shop/sa/web'] },
    /"other" is not "cluster.local"/,
  ],
  [
    'a trust domain in capitals',
    { uriSans: ['spiffe://CLUSTER.LOCAL/ns/shop/sa/web'] },
    /not a SPIFFE/,
  ],
  [
    'a URI of another scheme',
    { uriSans: ['https://cluster.local/ns/shop/sa/web'] },
    /not a SPIFFE/,
  ],
  [
    'an identity of another shape',
    { uriSans: ['spiffe://cluster.local/shop/web'] },
    /not a SPIFFE/,
  ],
  ['one segment too many', { uriSans: [`${WEB}/x`] }, /not a SPIFFE/],
  ['an empty segment', { uriSans: ['spiffe://cluster.local/ns//sa/web'] }, /not a SPIFFE/],
  ['a port', { uriSans: ['spiffe://cluster.local:1/ns/shop/sa/web'] }, /not a SPIFFE/],
  ['a query', { uriSans: [`${WEB}?x`] }, /not a SPIFFE/],
  ['a zero byte', { uriSans: [`${WEB}\0.evil`] }, /not a SPIFFE.*\\u0000/],
  ['a newline', { uriSans: [`${WEB}\n`] }, /not a SPIFFE.*\\n/],
  ['a very long name', { uriSans: [`spiffe://${'x'.repeat(9000)}`] }, /^not a SPIFFE.{0,400}$/],
  ['a purpose that is only serving', { ekus: [EKU_SERVER_AUTH] }, /is not for clientAuth/],
  ['a purpose that is only calling', { ekus: [EKU_CLIENT_AUTH] }, 'verified'],
]

const servers: readonly Case[] = [
  ['no alternative name', { uriSans: [] }, /the server is nobody/],
  ['another identity', { uriSans: [API] }, /expected ".*web", the server is ".*api"/],
  ['the expected identity among others', { uriSans: ['https://x', API, WEB] }, 'verified'],
  ['a purpose that is only serving', { ekus: [EKU_SERVER_AUTH] }, 'verified'],
  ['a purpose that is only calling', { ekus: [EKU_CLIENT_AUTH] }, /is not for serverAuth/],
]

const asClient = (presented: PresentedCertificate | undefined): PeerIdentity =>
  verifyClient(presented, { trustDomain: 'cluster.local', nowMs: NOW_MS })
const asServer = (presented: PresentedCertificate | undefined): PeerIdentity =>
  verifyServer(presented, { expected: [WEB], nowMs: NOW_MS })

for (const [side, verify, cases] of [
  ['client', asClient, [...common, ...clients]],
  ['server', asServer, [...common, ...servers]],
] as const) {
  for (const [name, fields, expected] of cases) {
    test(`${side} with ${name}: ${expected === 'verified' ? 'accepted' : 'refused'}`, (t) => {
      const peer = verify(fields === undefined ? undefined : certificate(fields))
      if (expected === 'verified') {
        t.deepEqual<unknown, unknown>(peer, { kind: 'verified', id: WEB, by: 'mtls' })
      } else {
        t.is(peer.kind, 'invalid')
        t.regex(peer.kind === 'invalid' ? peer.reason : '', expected)
      }
    })
  }
}

test('an empty list of expected identities accepts nobody', (t) => {
  const peer = verifyServer(certificate(), { expected: [], nowMs: NOW_MS })
  t.deepEqual(peer, { kind: 'invalid', reason: 'no server identity is expected here' })
})

test('any of several expected identities is accepted', (t) => {
  const peer = verifyServer(certificate(), { expected: [API, WEB], nowMs: NOW_MS })
  t.deepEqual<unknown, unknown>(peer, { kind: 'verified', id: WEB, by: 'mtls' })
})

test('an expected name that is no SPIFFE identity never matches, not even itself', (t) => {
  const peer = verifyServer(certificate({ uriSans: ['https://x'] }), {
    expected: ['https://x'],
    nowMs: NOW_MS,
  })
  t.is(peer.kind, 'invalid')
})
