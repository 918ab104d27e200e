import test from 'ava'
import fc from 'fast-check'
import { cidrContains, formatCidr, parseCidr } from './cidr.ts'
import { canonicalIp, formatEndpoint, formatIp, parseEndpoint, parseIp } from './ip.ts'

const canonical: readonly (readonly [string, string | undefined])[] = [
  ['10.0.0.1', '10.0.0.1'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['::ffff:a00:1', '10.0.0.1'],
  ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['::', '::'],
  ['::1', '::1'],
  ['1::', '1::'],
  ['10.0.0.256', undefined],
  ['10.0.0.01', undefined],
  ['10.0.0', undefined],
  ['1:2:3:4:5:6:7', undefined],
  ['1:2:3:4:5:6:7:8:9', undefined],
  ['1::2::3', undefined],
  ['::10.0.0.1:2', undefined],
  ['fe80::1%eth0', undefined],
  ['', undefined],
]

for (const [text, expected] of canonical) {
  test(`canonical form of "${text}"`, (t) => t.is(canonicalIp(text), expected))
}

test('formatting and parsing any 16 bytes gives them back', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
      t.deepEqual(parseIp(formatIp(bytes)), bytes)
    }),
  )
})

const endpoints: readonly (readonly [string, { ip: string; port: number } | undefined])[] = [
  ['10.0.0.1:80', { ip: '10.0.0.1', port: 80 }],
  ['[::1]:443', { ip: '::1', port: 443 }],
  ['[::ffff:1.2.3.4]:1', { ip: '1.2.3.4', port: 1 }],
  ['::1:443', undefined],
  ['10.0.0.1', undefined],
  ['10.0.0.1:0', undefined],
  ['10.0.0.1:65536', undefined],
  ['name:80', undefined],
]

for (const [text, expected] of endpoints) {
  test(`endpoint "${text}"`, (t) => t.deepEqual(parseEndpoint(text), expected))
}

test('an endpoint is written with brackets round IPv6 only', (t) => {
  t.is(formatEndpoint('::1', 80), '[::1]:80')
  t.is(formatEndpoint('10.0.0.1', 80), '10.0.0.1:80')
})

const ranges: readonly (readonly [string, string, boolean])[] = [
  ['10.0.0.0/8', '10.255.0.1', true],
  ['10.0.0.0/8', '11.0.0.1', false],
  ['10.0.0.7', '10.0.0.7', true],
  ['10.0.0.7', '10.0.0.8', false],
  ['0.0.0.0/0', '2001:db8::1', false],
  ['::/0', '10.0.0.1', true],
  ['2001:db8::/33', '2001:db8:7fff::1', true],
  ['2001:db8::/33', '2001:db8:8000::1', false],
]

for (const [range, address, inside] of ranges) {
  test(`${range} ${inside ? 'contains' : 'does not contain'} ${address}`, (t) => {
    const cidr = parseCidr(range)
    const bytes = parseIp(address)
    if (cidr === undefined || bytes === undefined) return t.fail()
    t.is(cidrContains(cidr, bytes), inside)
  })
}

test('host bits are cleared and odd prefixes refused', (t) => {
  const cidr = parseCidr('10.1.2.3/8')
  t.is(cidr && formatCidr(cidr), '10.0.0.0/8')
  for (const bad of ['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/08', '::/129', 'x/8']) {
    t.is(parseCidr(bad), undefined, bad)
  }
})
