import test from 'ava'
import type { MtlsMode, PeerMode } from '../model/authorization.ts'
import type { PeerIdentity } from '../model/facts.ts'
import type { PeerAuthentication } from '../model/registry.ts'
import type { SpiffeId } from '../model/spiffe-id.ts'
import { acceptTransport, resolvePeerMode } from './peer-mode.ts'

type Written = Partial<Omit<PeerAuthentication, 'key' | 'namespace'>>

const written = (key: string, fields: Written = {}): PeerAuthentication => ({
  key,
  namespace: key.split('/')[0] ?? '',
  mode: 'unset',
  ports: {},
  createdMs: 0,
  ...fields,
})

const WORKLOAD = { namespace: 'shop', labels: { app: 'web' } }
const OWN = { selector: { app: 'web' } }

const scopes: readonly (readonly [string, readonly PeerAuthentication[], MtlsMode, string])[] = [
  ['nothing: permissive', [], 'permissive', 'default'],
  ['the mesh', [written('root/m', { mode: 'strict' })], 'strict', 'root/m'],
  ['the namespace', [written('shop/n', { mode: 'strict' })], 'strict', 'shop/n'],
  [
    'another namespace says nothing',
    [written('other/n', { mode: 'strict' })],
    'permissive',
    'default',
  ],
  ['the workload', [written('shop/w', { ...OWN, mode: 'strict' })], 'strict', 'shop/w'],
  [
    'another workload says nothing',
    [written('shop/w', { selector: { app: 'db' }, mode: 'strict' })],
    'permissive',
    'default',
  ],
  [
    'namespace over mesh',
    [written('root/m', { mode: 'strict' }), written('shop/n', { mode: 'permissive' })],
    'permissive',
    'shop/n',
  ],
  [
    'workload over namespace',
    [written('shop/n', { mode: 'strict' }), written('shop/w', { ...OWN, mode: 'disable' })],
    'disable',
    'shop/w',
  ],
  [
    'an unset workload inherits from the namespace',
    [written('shop/n', { mode: 'strict' }), written('shop/w', OWN)],
    'strict',
    'shop/n',
  ],
  [
    'an unset namespace inherits from the mesh',
    [written('root/m', { mode: 'strict' }), written('shop/n')],
    'strict',
    'root/m',
  ],
  [
    'unset everywhere is permissive',
    [written('root/m'), written('shop/n')],
    'permissive',
    'default',
  ],
  [
    'a selector in the root namespace does not reach other namespaces',
    [written('root/w', { ...OWN, mode: 'strict' })],
    'permissive',
    'default',
  ],
  [
    'an empty selector is none',
    [written('shop/n', { selector: {}, mode: 'strict' })],
    'strict',
    'shop/n',
  ],
  [
    'the oldest of a scope wins',
    [
      written('shop/a', { mode: 'strict', createdMs: 2 }),
      written('shop/b', { mode: 'disable', createdMs: 1 }),
    ],
    'disable',
    'shop/b',
  ],
  [
    'the lesser name wins among equally old ones',
    [written('shop/b', { mode: 'disable' }), written('shop/a', { mode: 'strict' })],
    'strict',
    'shop/a',
  ],
  [
    'the oldest wins even if it is unset',
    [
      written('shop/a', { ...OWN, createdMs: 1 }),
      written('shop/b', { ...OWN, mode: 'disable', createdMs: 2 }),
      written('root/m', { mode: 'strict' }),
    ],
    'strict',
    'root/m',
  ],
]

for (const [name, all, mode, by] of scopes) {
  test(`scope: ${name}`, (t) => {
    for (const order of [all, [...all].reverse()]) {
      t.deepEqual(resolvePeerMode(WORKLOAD, order, 'root'), { mode, ports: {}, by })
    }
  })
}

test('a selector in the root namespace holds for workloads of that namespace', (t) => {
  const all = [written('root/w', { ...OWN, mode: 'strict' })]
  const workload = { namespace: 'root', labels: { app: 'web' } }
  t.is(resolvePeerMode(workload, all, 'root').mode, 'strict')
})

test('ports are taken from the workload scope only, and unset ones inherit', (t) => {
  const all = [
    written('shop/n', { mode: 'strict', ports: { 1: 'disable' } }),
    written('shop/w', { ...OWN, ports: { 2: 'permissive', 3: 'unset' } }),
  ]
  t.deepEqual(resolvePeerMode(WORKLOAD, all, 'root'), {
    mode: 'strict',
    ports: { 2: 'permissive', 3: 'strict' },
    by: 'shop/n',
  })
})

test('ports alone are explained by who set them', (t) => {
  const all = [written('shop/w', { ...OWN, ports: { 2: 'strict' } })]
  t.deepEqual(resolvePeerMode(WORKLOAD, all, 'root'), {
    mode: 'permissive',
    ports: { 2: 'strict' },
    by: 'shop/w',
  })
})

const id = 'spiffe://cluster.local/ns/shop/sa/web' as SpiffeId
const MTLS: PeerIdentity = { kind: 'verified', id, by: 'mtls' }
const ATTESTED: PeerIdentity = { kind: 'verified', id, by: 'kernel' }
const PLAIN: PeerIdentity = { kind: 'absent', reason: 'plaintext' }
const OUTSIDE: PeerIdentity = { kind: 'absent', reason: 'outside-mesh' }
const INVALID: PeerIdentity = { kind: 'invalid', reason: 'expired' }

const transports: readonly (readonly [MtlsMode, PeerIdentity, string])[] = [
  ['strict', PLAIN, 'plaintext-denied'],
  ['strict', OUTSIDE, 'plaintext-denied'],
  ['strict', MTLS, 'allow'],
  ['strict', ATTESTED, 'allow'],
  ['strict', INVALID, 'identity-invalid'],
  ['permissive', PLAIN, 'allow'],
  ['permissive', OUTSIDE, 'allow'],
  ['permissive', MTLS, 'allow'],
  ['permissive', ATTESTED, 'allow'],
  ['permissive', INVALID, 'identity-invalid'],
  ['disable', PLAIN, 'allow'],
  ['disable', OUTSIDE, 'allow'],
  ['disable', MTLS, 'allow'],
  ['disable', ATTESTED, 'allow'],
  ['disable', INVALID, 'identity-invalid'],
]

for (const [mode, peer, expected] of transports) {
  const who =
    peer.kind === 'verified' ? `${peer.kind} by ${peer.by}` : `${peer.kind} ${peer.reason}`
  test(`${mode}, peer ${who}: ${expected}`, (t) => {
    const verdict = acceptTransport({ mode, ports: {}, by: 'shop/p' }, 80, peer)
    const outcome: string = verdict.kind === 'deny' ? verdict.reason : verdict.kind
    t.is(outcome, expected)
  })
}

test('a port mode goes before the mode of the workload', (t) => {
  const mode: PeerMode = { mode: 'strict', ports: { 8080: 'permissive' }, by: 'shop/w' }
  t.is(acceptTransport(mode, 8080, PLAIN).kind, 'allow')
  t.deepEqual(acceptTransport(mode, 8081, PLAIN), {
    kind: 'deny',
    reason: 'plaintext-denied',
    by: 'shop/w',
  })
})
