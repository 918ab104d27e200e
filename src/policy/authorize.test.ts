import test from 'ava'
import {
  type AuthorizationPolicy,
  EMPTY_MATCH,
  type PolicyAction,
  type PolicyMatch,
  type PolicyRule,
  type StringMatch,
} from '../model/authorization.ts'
import type { ConnectionFacts, PeerIdentity, Verdict } from '../model/facts.ts'
import type { SpiffeId } from '../model/spiffe-id.ts'
import { authorize, authorizeDryRun, compilePolicies } from './authorize.ts'

const match = (fields: Partial<PolicyMatch>): PolicyMatch => ({ ...EMPTY_MATCH, ...fields })
const exact = (value: string): StringMatch => ({ kind: 'exact', value })
const rule = (...clauses: (readonly PolicyMatch[])[]): PolicyRule => ({ clauses })
const policy = (
  action: PolicyAction,
  name: string,
  rules: readonly PolicyRule[],
  dryRun = false,
): AuthorizationPolicy => ({
  key: `shop/${name}`,
  name,
  namespace: 'shop',
  action,
  rules,
  dryRun,
  origin: 'policy.yaml:1',
})

const verified = (id: string): PeerIdentity => ({
  kind: 'verified',
  id: id as SpiffeId,
  by: 'mtls',
})
const WEB = verified('spiffe://cluster.local/ns/shop/sa/web')
const PLAIN: PeerIdentity = { kind: 'absent', reason: 'plaintext' }
const INVALID: PeerIdentity = { kind: 'invalid', reason: 'expired' }

const facts = (fields: Partial<ConnectionFacts> = {}): ConnectionFacts => ({
  peer: WEB,
  sourceIp: '10.0.0.7',
  destinationIp: '10.0.1.9',
  destinationPort: 8080,
  ...fields,
})

const ANY = rule()
const PORT_8080 = rule([match({ destinationPorts: [8080] })])
const PORT_9090 = rule([match({ destinationPorts: [9090] })])

const shown = (verdict: Verdict): string =>
  verdict.kind === 'undecided' ? 'undecided' : `${verdict.kind} ${verdict.by}`

const orders: readonly (readonly [string, readonly AuthorizationPolicy[], string])[] = [
  ['no policy allows', [], 'allow no-policy'],
  ['a matching DENY denies', [policy('deny', 'd', [PORT_8080])], 'deny shop/d'],
  ['a DENY that does not match allows', [policy('deny', 'd', [PORT_9090])], 'allow no-policy'],
  ['a matching ALLOW allows', [policy('allow', 'a', [PORT_8080])], 'allow shop/a'],
  [
    'ALLOWs of which none matches deny',
    [policy('allow', 'a', [PORT_9090])],
    'deny no-allow-matched',
  ],
  [
    'DENY comes before ALLOW',
    [policy('allow', 'a', [PORT_8080]), policy('deny', 'd', [PORT_8080])],
    'deny shop/d',
  ],
  [
    'a DENY that does not match leaves it to ALLOW',
    [policy('allow', 'a', [PORT_8080]), policy('deny', 'd', [PORT_9090])],
    'allow shop/a',
  ],
  [
    'any matching ALLOW is enough',
    [policy('allow', 'a', [PORT_9090]), policy('allow', 'b', [PORT_8080])],
    'allow shop/b',
  ],
  ['an ALLOW without rules denies everything', [policy('allow', 'a', [])], 'deny no-allow-matched'],
  ['a DENY without rules denies nothing', [policy('deny', 'd', [])], 'allow no-policy'],
  ['a rule without clauses always matches', [policy('deny', 'd', [ANY])], 'deny shop/d'],
  ['a clause without matches always matches', [policy('deny', 'd', [rule([])])], 'deny shop/d'],
  [
    'a match with no fields never matches',
    [policy('deny', 'd', [rule([EMPTY_MATCH])])],
    'allow no-policy',
  ],
  [
    'an empty match beside another is skipped',
    [policy('deny', 'd', [rule([EMPTY_MATCH, match({ destinationPorts: [8080] })])])],
    'deny shop/d',
  ],
  ['any rule is enough', [policy('deny', 'd', [PORT_9090, PORT_8080])], 'deny shop/d'],
  [
    'all clauses must hold',
    [
      policy('deny', 'd', [
        rule([match({ destinationPorts: [8080] })], [match({ namespaces: [exact('other')] })]),
      ]),
    ],
    'allow no-policy',
  ],
  [
    'any match of a clause is enough',
    [
      policy('deny', 'd', [
        rule([match({ destinationPorts: [9090] }), match({ namespaces: [exact('shop')] })]),
      ]),
    ],
    'deny shop/d',
  ],
  [
    'all fields of a match must hold',
    [
      policy('deny', 'd', [
        rule([match({ destinationPorts: [8080], namespaces: [exact('other')] })]),
      ]),
    ],
    'allow no-policy',
  ],
  [
    'a value and its negation both present must both hold',
    [
      policy('deny', 'd', [
        rule([match({ namespaces: [exact('shop')], notNamespaces: [exact('shop')] })]),
      ]),
    ],
    'allow no-policy',
  ],
]

for (const [name, policies, expected] of orders) {
  test(name, (t) => {
    t.is(shown(authorize(compilePolicies(policies), facts())), expected)
    t.is(shown(authorize(compilePolicies([...policies].reverse()), facts())), expected)
  })
}

const suffix = (value: string): StringMatch => ({ kind: 'suffix', value })
const prefix = (value: string): StringMatch => ({ kind: 'prefix', value })
const PRESENT: StringMatch = { kind: 'presence', value: '' }
const PRINCIPAL = 'cluster.local/ns/shop/sa/web'

/** Field, facts that differ from the usual ones, whether the match holds. */
const fields: readonly (readonly [
  string,
  Partial<PolicyMatch>,
  Partial<ConnectionFacts>,
  boolean,
])[] = [
  ['principal exactly', { principals: [exact(PRINCIPAL)] }, {}, true],
  ['principal in other case', { principals: [exact(PRINCIPAL.toUpperCase())] }, {}, false],
  ['principal with the scheme', { principals: [exact(`spiffe://${PRINCIPAL}`)] }, {}, false],
  ['principal by prefix', { principals: [prefix('cluster.local/ns/shop')] }, {}, true],
  ['principal prefix is not of the scheme', { principals: [prefix('spiffe:')] }, {}, false],
  ['principal by suffix', { principals: [suffix('/sa/web')] }, {}, true],
  [
    'principal suffix does not reach the scheme',
    { principals: [suffix(`/${PRINCIPAL}`)] },
    {},
    false,
  ],
  ['principal present', { principals: [PRESENT] }, {}, true],
  ['principal absent, presence asked', { principals: [PRESENT] }, { peer: PLAIN }, false],
  ['principal absent, empty prefix asked', { principals: [prefix('')] }, { peer: PLAIN }, false],
  ['principal absent, none forbidden', { notPrincipals: [PRESENT] }, { peer: PLAIN }, true],
  ['principal present though forbidden', { notPrincipals: [PRESENT] }, {}, false],
  ['principal forbidden by name', { notPrincipals: [exact(PRINCIPAL)] }, {}, false],
  ['another principal forbidden', { notPrincipals: [exact('x')] }, {}, true],
  [
    'kernel-attested principal',
    { principals: [PRESENT] },
    { peer: { ...WEB, by: 'kernel' } as PeerIdentity },
    true,
  ],
  ['any of several principals', { principals: [exact('x'), exact(PRINCIPAL)] }, {}, true],
  ['namespace', { namespaces: [exact('shop')] }, {}, true],
  ['another namespace', { namespaces: [exact('sho')] }, {}, false],
  ['namespace by prefix', { namespaces: [prefix('sh')] }, {}, true],
  ['namespace without identity', { namespaces: [exact('shop')] }, { peer: PLAIN }, false],
  ['namespace presence without identity', { namespaces: [PRESENT] }, { peer: PLAIN }, false],
  [
    'forbidden namespace without identity',
    { notNamespaces: [exact('shop')] },
    { peer: PLAIN },
    true,
  ],
  [
    'service account',
    { serviceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }] },
    {},
    true,
  ],
  [
    'service account of another namespace',
    { serviceAccounts: [{ namespace: 'x', serviceAccount: 'web' }] },
    {},
    false,
  ],
  [
    'service account of another trust domain',
    { serviceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }] },
    { peer: verified('spiffe://other/ns/shop/sa/web') },
    true,
  ],
  [
    'service account without identity',
    { serviceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }] },
    { peer: PLAIN },
    false,
  ],
  [
    'empty service account without identity',
    { serviceAccounts: [{ namespace: '', serviceAccount: '' }] },
    { peer: PLAIN },
    false,
  ],
  [
    'forbidden service account without identity',
    { notServiceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }] },
    { peer: PLAIN },
    true,
  ],
  ['source range', { sourceIps: ['10.0.0.0/24'] }, {}, true],
  ['source outside the range', { sourceIps: ['10.0.1.0/24'] }, {}, false],
  ['source address', { sourceIps: ['10.0.0.7'] }, {}, true],
  ['forbidden source range', { notSourceIps: ['10.0.0.0/24'] }, {}, false],
  ['source in IPv6', { sourceIps: ['2001:db8::/32'] }, { sourceIp: '2001:db8::1' }, true],
  [
    'every IPv4 address is no IPv6 one',
    { sourceIps: ['0.0.0.0/0'] },
    { sourceIp: '2001:db8::1' },
    false,
  ],
  ['every IPv6 address is no IPv4 one', { sourceIps: ['::/0'] }, {}, false],
  ['a v4-mapped range is of IPv4', { sourceIps: ['::ffff:10.0.0.0/104'] }, {}, true],
  ['destination range', { destinationIps: ['10.0.1.0/24'] }, {}, true],
  ['destination range holds the source only', { destinationIps: ['10.0.0.0/24'] }, {}, false],
  ['forbidden destination', { notDestinationIps: ['10.0.1.9'] }, {}, false],
  ['port', { destinationPorts: [1, 8080] }, {}, true],
  ['another port', { destinationPorts: [80] }, {}, false],
  ['forbidden port', { notDestinationPorts: [8080] }, {}, false],
  ['another port forbidden', { notDestinationPorts: [80] }, {}, true],
]

for (const [name, value, differing, holds] of fields) {
  test(`field: ${name} ${holds ? 'matches' : 'does not match'}`, (t) => {
    const rules = [rule([match(value)])]
    const deny = authorize(compilePolicies([policy('deny', 'p', rules)]), facts(differing))
    const allow = authorize(compilePolicies([policy('allow', 'p', rules)]), facts(differing))
    t.is(deny.kind, holds ? 'deny' : 'allow')
    t.is(allow.kind, holds ? 'allow' : 'deny')
  })
}

test('an invalid identity is denied even without any policy', (t) => {
  const peer = INVALID
  const allowAll = policy('allow', 'a', [ANY])
  for (const policies of [
    [],
    [allowAll],
    [policy('allow', 'n', [rule([match({ notPrincipals: [PRESENT] })])])],
  ]) {
    t.deepEqual(authorize(compilePolicies(policies), facts({ peer })), {
      kind: 'deny',
      reason: 'identity-invalid',
      by: 'invalid-identity',
    })
  }
})

test('STRICT as istiod writes it denies plaintext only', (t) => {
  const strict = policy('deny', 'istio_converted_static_strict', [
    rule([match({ notPrincipals: [PRESENT] })]),
  ])
  t.is(authorize(compilePolicies([strict]), facts({ peer: PLAIN })).kind, 'deny')
  t.is(authorize(compilePolicies([strict]), facts()).kind, 'allow')
})

test('a range that cannot be read denies what it was to deny and allows nothing', (t) => {
  for (const field of [
    'sourceIps',
    'notSourceIps',
    'destinationIps',
    'notDestinationIps',
  ] as const) {
    const rules = [rule([match({ [field]: ['10.0.0.0/99'] })])]
    t.is(authorize(compilePolicies([policy('deny', 'd', rules)]), facts()).kind, 'deny', field)
    t.is(authorize(compilePolicies([policy('allow', 'a', rules)]), facts()).kind, 'deny', field)
  }
})

test('facts that cannot be read are denied where a policy needs them', (t) => {
  const ranges = [policy('deny', 'd', [rule([match({ sourceIps: ['10.9.0.0/16'] })])])]
  const names = [policy('deny', 'd', [rule([match({ principals: [exact('x')] })])])]
  const denied = { kind: 'deny', reason: 'policy-denied', by: 'unreadable-facts' }
  t.deepEqual(authorize(compilePolicies(ranges), facts({ sourceIp: 'nonsense' })), denied)
  t.deepEqual(authorize(compilePolicies(names), facts({ peer: verified('spiffe://x') })), denied)
})

test('dry-run policies are reported and never enforced', (t) => {
  const real = policy('allow', 'a', [PORT_8080])
  const tried = policy('deny', 'd', [PORT_8080], true)
  const bound = compilePolicies([real, tried])
  t.is(shown(authorize(bound, facts())), 'allow shop/a')
  const would = authorizeDryRun(bound, facts())
  t.is(would && shown(would), 'deny shop/d')
})

test('a dry-run ALLOW does not close what has no ALLOW', (t) => {
  const bound = compilePolicies([policy('allow', 'a', [PORT_9090], true)])
  t.is(shown(authorize(bound, facts())), 'allow no-policy')
  const would = authorizeDryRun(bound, facts())
  t.is(would && shown(would), 'deny no-allow-matched')
})

test('without dry-run policies there is nothing to report', (t) => {
  t.is(authorizeDryRun(compilePolicies([policy('deny', 'd', [ANY])]), facts()), undefined)
})

test('the policy named is the first by key, whatever the order', (t) => {
  const both = [policy('deny', 'b', [ANY]), policy('deny', 'a', [ANY])]
  t.is(shown(authorize(compilePolicies(both), facts())), 'deny shop/a')
  t.is(shown(authorize(compilePolicies(both.reverse()), facts())), 'deny shop/a')
})
