import test from 'ava'
import fc from 'fast-check'
import type { AuthorizationPolicy, PolicyMatch, StringMatch } from '../model/authorization.ts'
import type { ConnectionFacts } from '../model/facts.ts'
import type { SpiffeId } from '../model/spiffe-id.ts'
import { authorize, authorizeDryRun, compilePolicies } from './authorize.ts'

// Small alphabets, so that values collide and matches happen.
const NAMESPACES = ['a', 'ab', 'b'] as const
const ACCOUNTS = ['s', 't'] as const
const IPS = ['10.0.0.1', '10.0.1.1', '2001:db8::1'] as const
const PORTS = [80, 81] as const

const name = fc.constantFrom(...NAMESPACES)
const account = fc.constantFrom(...ACCOUNTS)
const principalText = fc.tuple(name, account).map(([ns, sa]) => `td/ns/${ns}/sa/${sa}`)

const strings = (values: fc.Arbitrary<string>): fc.Arbitrary<StringMatch[]> =>
  fc.array(
    fc.oneof(
      fc.record({ kind: fc.constant('exact' as const), value: values }),
      fc.record({ kind: fc.constant('prefix' as const), value: values.map((v) => v.slice(0, 7)) }),
      fc.record({ kind: fc.constant('suffix' as const), value: values.map((v) => v.slice(-1)) }),
      fc.constant({ kind: 'presence' as const, value: '' }),
    ),
    { maxLength: 2 },
  )
const accounts = fc.array(fc.record({ namespace: name, serviceAccount: account }), { maxLength: 2 })
const ranges = fc.array(
  fc.constantFrom('10.0.0.0/24', '10.0.0.0/8', '10.0.1.1', '2001:db8::/32', '0.0.0.0/0', '::/0'),
  { maxLength: 2 },
)
const ports = fc.array(fc.constantFrom(...PORTS), { maxLength: 2 })

const match: fc.Arbitrary<PolicyMatch> = fc.record({
  principals: strings(principalText),
  notPrincipals: strings(principalText),
  namespaces: strings(name),
  notNamespaces: strings(name),
  serviceAccounts: accounts,
  notServiceAccounts: accounts,
  sourceIps: ranges,
  notSourceIps: ranges,
  destinationIps: ranges,
  notDestinationIps: ranges,
  destinationPorts: ports,
  notDestinationPorts: ports,
})
/** Most matches set few fields: one that sets all of them hardly ever holds. */
const sparse = fc
  .tuple(match, fc.uniqueArray(fc.nat(11), { maxLength: 3 }))
  .map(([full, kept]) =>
    Object.fromEntries(
      Object.entries(full).map(([key, values], at) => [key, kept.includes(at) ? values : []]),
    ),
  ) as unknown as fc.Arbitrary<PolicyMatch>

const policy = fc
  .record({
    action: fc.constantFrom('allow' as const, 'deny' as const),
    rules: fc.array(
      fc.record({ clauses: fc.array(fc.array(sparse, { maxLength: 2 }), { maxLength: 2 }) }),
      { maxLength: 2 },
    ),
    dryRun: fc.boolean(),
    name: fc.stringMatching(/^[a-z]{1,4}$/),
  })
  .map(
    (fields): AuthorizationPolicy => ({
      ...fields,
      key: `n/${fields.name}`,
      namespace: 'n',
      origin: '',
    }),
  )
const policies = fc.uniqueArray(policy, { maxLength: 5, selector: (one) => one.key })

const facts: fc.Arbitrary<ConnectionFacts> = fc.record({
  peer: fc.oneof(
    principalText.map((text) => ({
      kind: 'verified' as const,
      id: `spiffe://${text}` as SpiffeId,
      by: 'mtls' as const,
    })),
    fc.constant({ kind: 'absent' as const, reason: 'plaintext' as const }),
  ),
  sourceIp: fc.constantFrom(...IPS),
  destinationIp: fc.constantFrom(...IPS),
  destinationPort: fc.constantFrom(...PORTS),
})

/** The rules read off the specification, word by word, without any preparation. */
function naive(all: readonly AuthorizationPolicy[], of: ConnectionFacts): 'allow' | 'deny' {
  const enforced = all.filter((one) => !one.dryRun)
  const hits = (action: string) =>
    enforced.filter(
      (one) =>
        one.action === action &&
        one.rules.some((rule) =>
          rule.clauses.every(
            (clause) => clause.length === 0 || clause.some((one) => naiveMatch(one, of)),
          ),
        ),
    )
  if (hits('deny').length > 0) return 'deny'
  if (!enforced.some((one) => one.action === 'allow')) return 'allow'
  return hits('allow').length > 0 ? 'allow' : 'deny'
}

function naiveMatch(one: PolicyMatch, of: ConnectionFacts): boolean {
  if (Object.values(one).every((list) => list.length === 0)) return false
  const id = of.peer.kind === 'verified' ? of.peer.id.replace('spiffe://', '') : undefined
  const [, , ns = '', , sa = ''] = id?.split('/') ?? []
  const says = (m: StringMatch, value: string) =>
    ({
      exact: m.value === value,
      prefix: value.indexOf(m.value) === 0,
      suffix: value.slice(value.length - m.value.length) === m.value,
      presence: value.length > 0,
    })[m.kind]
  const within = (range: string, ip: string) => {
    if (range === '::/0' || range === '2001:db8::/32') return ip.includes(':')
    if (ip.includes(':')) return false
    if (range === '10.0.1.1') return ip === range
    return range !== '10.0.0.0/24' || ip.startsWith('10.0.0.')
  }
  const both = <T>(some: readonly T[], none: readonly T[], holds: (value: T) => boolean) =>
    (some.length === 0 || some.some(holds)) && !none.some(holds)
  return (
    both(one.principals, one.notPrincipals, (m) => id !== undefined && says(m, id)) &&
    both(one.namespaces, one.notNamespaces, (m) => says(m, ns)) &&
    both(
      one.serviceAccounts,
      one.notServiceAccounts,
      (m) => id !== undefined && m.namespace === ns && m.serviceAccount === sa,
    ) &&
    both(one.sourceIps, one.notSourceIps, (range) => within(range, of.sourceIp)) &&
    both(one.destinationIps, one.notDestinationIps, (range) => within(range, of.destinationIp)) &&
    both(one.destinationPorts, one.notDestinationPorts, (port) => port === of.destinationPort)
  )
}

const RUNS = { numRuns: 2000 }
const kind = (all: readonly AuthorizationPolicy[], of: ConnectionFacts) =>
  authorize(compilePolicies(all), of).kind

test('compiled policies decide as the naive reading does, and both ways occur', (t) => {
  const seen = new Set<string>()
  fc.assert(
    fc.property(policies, facts, (all, of) => {
      const expected = naive(all, of)
      seen.add(`${expected} ${all.some((one) => one.action === 'allow')}`)
      return kind(all, of) === expected
    }),
    RUNS,
  )
  t.is(seen.size, 4)
})

test('the order of policies changes neither verdict nor explanation', (t) => {
  fc.assert(
    fc.property(policies, facts, fc.integer(), (all, of, turn) => {
      const at = all.length === 0 ? 0 : Math.abs(turn) % all.length
      const turned = [...all.slice(at), ...all.slice(0, at)].reverse()
      t.deepEqual(authorize(compilePolicies(turned), of), authorize(compilePolicies(all), of))
    }),
    RUNS,
  )
})

test('one more DENY never allows more', (t) => {
  fc.assert(
    fc.property(policies, policy, facts, (all, more, of) => {
      const added: AuthorizationPolicy = { ...more, action: 'deny', key: 'n/added' }
      return kind(all, of) === 'deny' ? kind([...all, added], of) === 'deny' : true
    }),
    RUNS,
  )
  t.pass()
})

test('one more ALLOW beside an enforced one never denies more', (t) => {
  fc.assert(
    fc.property(policies, policy, facts, (all, more, of) => {
      const added: AuthorizationPolicy = { ...more, action: 'allow', key: 'n/added' }
      const held = all.some((one) => one.action === 'allow' && !one.dryRun)
      return held && kind(all, of) === 'allow' ? kind([...all, added], of) === 'allow' : true
    }),
    RUNS,
  )
  t.pass()
})

const NEGATIONS = [
  ['notPrincipals', 'principals'],
  ['notNamespaces', 'namespaces'],
  ['notServiceAccounts', 'serviceAccounts'],
  ['notSourceIps', 'sourceIps'],
  ['notDestinationIps', 'destinationIps'],
  ['notDestinationPorts', 'destinationPorts'],
] as const

for (const [negative, positive] of NEGATIONS) {
  // Some negative value is there already: the first one would turn an empty match into one.
  const withNegative = match.filter((one) => one[negative].length > 0 && one[positive].length > 0)
  const decide = (action: 'allow' | 'deny', one: PolicyMatch, of: ConnectionFacts) =>
    kind(
      [
        {
          key: 'n/p',
          name: 'p',
          namespace: 'n',
          action,
          dryRun: false,
          origin: '',
          rules: [{ clauses: [[one]] }],
        },
      ],
      of,
    )

  test(`one more value in ${negative} never makes an ALLOW match more`, (t) => {
    fc.assert(
      fc.property(withNegative, facts, (one, of) => {
        const more = { ...one, [negative]: [...one[negative], ...one[positive]] }
        return decide('allow', one, of) === 'deny' ? decide('allow', more, of) === 'deny' : true
      }),
    )
    t.pass()
  })

  test(`one more value in ${positive} never makes a DENY match less`, (t) => {
    fc.assert(
      fc.property(withNegative, facts, (one, of) => {
        const more = { ...one, [positive]: [...one[positive], ...one[negative]] }
        return decide('deny', one, of) === 'deny' ? decide('deny', more, of) === 'deny' : true
      }),
    )
    t.pass()
  })
}

test('dry-run policies never change the verdict, and are reported as if enforced', (t) => {
  fc.assert(
    fc.property(policies, facts, (all, of) => {
      const without = all.filter((one) => !one.dryRun)
      t.deepEqual(authorize(compilePolicies(all), of), authorize(compilePolicies(without), of))
      const enforced = all.map((one) => ({ ...one, dryRun: false }))
      const would =
        without.length === all.length ? undefined : authorize(compilePolicies(enforced), of)
      t.deepEqual(authorizeDryRun(compilePolicies(all), of), would)
    }),
    RUNS,
  )
})
