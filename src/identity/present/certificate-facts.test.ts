import { X509Certificate } from 'node:crypto'
import test from 'ava'
import fc from 'fast-check'
import { CLIENT_AUTH, DAY_MS, forgeLeaf, forgeRoot, SERVER_AUTH } from '../testing/certificates.ts'
import { CertificateReader, readCertificate } from './certificate-facts.ts'

const root = await forgeRoot()
const usual = await forgeLeaf(root, { uris: ['spiffe://cluster.local/ns/shop/sa/web'] })

test('reads what is in the certificate', async (t) => {
  const nowMs = Math.floor(Date.now() / 1000) * 1000
  const leaf = await forgeLeaf(root, {
    uris: ['spiffe://a/ns/b/sa/c', 'https://example.org/x'],
    dnsNames: ['web.shop.svc'],
    ekus: [CLIENT_AUTH],
    notBeforeMs: nowMs - DAY_MS,
    notAfterMs: nowMs + DAY_MS,
  })
  t.deepEqual(readCertificate(leaf.der), {
    ok: true,
    value: {
      uriSans: ['spiffe://a/ns/b/sa/c', 'https://example.org/x'],
      notBeforeMs: nowMs - DAY_MS,
      notAfterMs: nowMs + DAY_MS,
      ekus: [CLIENT_AUTH],
      isCa: false,
    },
  })
})

test('a name with a comma is one name, though Node joins names with commas', async (t) => {
  const uri = 'spiffe://a/ns/b/sa/c, URI:spiffe://a/ns/b/sa/d'
  const leaf = await forgeLeaf(root, { uris: [uri] })
  const facts = readCertificate(leaf.der)
  t.deepEqual(facts.ok && facts.value.uriSans, [uri])
})

test('a certificate without alternative names or purposes has none', async (t) => {
  const leaf = await forgeLeaf(root, { ekus: undefined })
  const facts = readCertificate(leaf.der)
  t.deepEqual(facts.ok && [facts.value.uriSans, facts.value.ekus], [[], []])
})

test('the CA bit is read', async (t) => {
  const leaf = await forgeLeaf(root, { isCa: true })
  const facts = readCertificate(leaf.der)
  t.true(facts.ok && facts.value.isCa)
  const own = readCertificate(root.certificate.raw)
  t.true(own.ok && own.value.isCa)
})

test('validity beyond 2049, which is written in another form, is read', async (t) => {
  const notAfterMs = Date.UTC(2060, 0, 2, 3, 4, 5)
  const leaf = await forgeLeaf(root, { notAfterMs })
  const facts = readCertificate(leaf.der)
  t.is(facts.ok ? facts.value.notAfterMs : undefined, notAfterMs)
  t.is(new X509Certificate(leaf.der).validToDate.getTime(), notAfterMs)
})

test('an extension that appears twice is malformed', async (t) => {
  const leaf = await forgeLeaf(root, { uris: ['spiffe://a/ns/b/sa/c'], namesTwice: true })
  const facts = readCertificate(leaf.der)
  t.regex(facts.ok ? '' : facts.error, /2\.5\.29\.17 appears twice/)
})

test('both purposes are read in order', (t) => {
  const facts = readCertificate(usual.der)
  t.deepEqual(facts.ok && facts.value.ekus, [SERVER_AUTH, CLIENT_AUTH])
})

test('no cut of a certificate is read as one', (t) => {
  for (let length = 0; length < usual.der.length; length++) {
    t.false(readCertificate(usual.der.subarray(0, length)).ok, `${length} bytes`)
  }
})

test('damaged bytes give a value or an error, never an exception', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(usual.der.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      (damages) => {
        const der = usual.der.slice()
        for (const [at, value] of damages) der[at] = value
        return typeof readCertificate(der).ok === 'boolean'
      },
    ),
    { numRuns: 5000 },
  )
  t.pass()
})

test('arbitrary bytes give an error, never an exception', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => !readCertificate(bytes).ok),
    { numRuns: 2000 },
  )
  t.pass()
})

test('a certificate is parsed once and the oldest is forgotten first', async (t) => {
  const reader = new CertificateReader(2)
  const second = await forgeLeaf(root)
  const third = await forgeLeaf(root)
  const first = reader.read(usual.der)
  t.is(reader.read(usual.der), first)
  reader.read(second.der)
  reader.read(third.der)
  t.is(reader.size, 2)
  t.not(reader.read(usual.der), first)
})
