import test from 'ava'
import type { AuthorizationPolicy, PeerMode } from '../model/authorization.ts'
import type { PeerIdentity } from '../model/facts.ts'
import type { SpiffeId } from '../model/spiffe-id.ts'
import { compilePolicies } from './authorize.ts'
import { type CurrentSecurity, type LiveConnection, recheck } from './recheck.ts'

const PERMISSIVE: PeerMode = { mode: 'permissive', ports: {}, by: 'default' }
const STRICT: PeerMode = { mode: 'strict', ports: {}, by: 'shop/strict' }
const WEB: PeerIdentity = {
  kind: 'verified',
  id: 'spiffe://cluster.local/ns/shop/sa/web' as SpiffeId,
  by: 'mtls',
}
const PLAIN: PeerIdentity = { kind: 'absent', reason: 'plaintext' }
const DENY_ALL: AuthorizationPolicy = {
  key: 'shop/none',
  name: 'none',
  namespace: 'shop',
  action: 'deny',
  rules: [{ clauses: [] }],
  dryRun: false,
  origin: '',
}

interface Named extends LiveConnection {
  readonly name: string
}
const live = (name: string, workload: string, peer: PeerIdentity = WEB, version = 1): Named => ({
  name,
  workload,
  version,
  facts: { peer, sourceIp: '10.0.0.1', destinationIp: '10.0.0.2', destinationPort: 80 },
})

const security = new Map<string, CurrentSecurity>([
  ['open', { policies: compilePolicies([]), peer: PERMISSIVE }],
  ['denied', { policies: compilePolicies([DENY_ALL]), peer: PERMISSIVE }],
  ['strict', { policies: compilePolicies([]), peer: STRICT }],
])

const cases: readonly (readonly [string, Named, object | undefined])[] = [
  ['still allowed lives on', live('a', 'open'), undefined],
  [
    'now denied by a policy ends',
    live('a', 'denied'),
    { reason: 'policy-changed', because: 'policy-denied', by: 'shop/none' },
  ],
  [
    'in plaintext under a new STRICT ends',
    live('a', 'strict', PLAIN),
    { reason: 'policy-changed', because: 'plaintext-denied', by: 'shop/strict' },
  ],
  ['over mTLS under a new STRICT lives on', live('a', 'strict'), undefined],
  [
    'to a workload that is gone ends',
    live('a', 'gone'),
    { reason: 'workload-removed', because: 'workload-removed', by: 'no-workload' },
  ],
  ['judged by this version already is left alone', live('a', 'denied', WEB, 2), undefined],
  ['judged by a later version is left alone', live('a', 'gone', WEB, 3), undefined],
]

for (const [name, connection, expected] of cases) {
  test(`a connection ${name}`, (t) => {
    const endings = recheck([connection], 2, (workload) => security.get(workload))
    t.deepEqual(endings, expected === undefined ? [] : [{ connection, ...expected } as never])
  })
}

test('each connection is judged for itself', (t) => {
  const all = [
    live('a', 'open'),
    live('b', 'denied'),
    live('c', 'strict', PLAIN),
    live('d', 'gone'),
  ]
  const endings = recheck(all, 2, (workload) => security.get(workload))
  t.deepEqual(
    endings.map(({ connection }) => connection.name),
    ['b', 'c', 'd'],
  )
})
