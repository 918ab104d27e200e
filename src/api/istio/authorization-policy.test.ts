import test from 'ava'
import { stringify } from 'yaml'
import type { PolicyMatch } from '../../model/authorization.ts'
import { parseFile } from '../parse-file.ts'
import { formatIssue } from '../print-issue.ts'
import type { AuthorizationPolicySpec } from './authorization-policy.ts'

function parse(spec: unknown) {
  const metadata = { name: 'p', namespace: 'shop' }
  const object = { apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy', metadata, spec }
  const { resources, issues } = parseFile('p.yaml', stringify(object))
  const policy = resources[0]?.spec as AuthorizationPolicySpec | undefined
  return {
    policy,
    issues: issues.map((issue) => formatIssue(issue).replace(/^p\.yaml:\d+:\d+: /, '')),
  }
}

const SUBJECT = 'error: AuthorizationPolicy shop/p: '
const from = (source: object) => ({ rules: [{ from: [{ source }] }] })
const to = (operation: object) => ({ rules: [{ to: [{ operation }] }] })

/** The lists of a match that are not empty. */
const filled = (match: PolicyMatch | undefined) =>
  Object.fromEntries(Object.entries(match ?? {}).filter(([, list]) => list.length > 0))

const SOURCES: readonly (readonly [object, object])[] = [
  [{ principals: ['*'] }, { principals: [{ kind: 'presence', value: '' }] }],
  [{ principals: ['td/*'] }, { principals: [{ kind: 'prefix', value: 'td/' }] }],
  [{ notPrincipals: ['*/sa/web'] }, { notPrincipals: [{ kind: 'suffix', value: '/sa/web' }] }],
  [{ namespaces: ['shop'] }, { namespaces: [{ kind: 'exact', value: 'shop' }] }],
  [
    { notNamespaces: ['a', 'b*'] },
    {
      notNamespaces: [
        { kind: 'exact', value: 'a' },
        { kind: 'prefix', value: 'b' },
      ],
    },
  ],
  [
    { serviceAccounts: ['web', 'other/web'] },
    {
      serviceAccounts: [
        { namespace: 'shop', serviceAccount: 'web' },
        { namespace: 'other', serviceAccount: 'web' },
      ],
    },
  ],
  [
    { notServiceAccounts: ['web'] },
    { notServiceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }] },
  ],
  [{ ipBlocks: ['10.1.2.3/8', '::ffff:1.2.3.4'] }, { sourceIps: ['10.0.0.0/8', '1.2.3.4/32'] }],
  [{ notIpBlocks: ['2001:DB8::/32'] }, { notSourceIps: ['2001:db8::/32'] }],
]

for (const [source, expected] of SOURCES) {
  test(`understands the source ${JSON.stringify(source)}`, (t) => {
    const { policy, issues } = parse(from(source))
    t.deepEqual(issues, [])
    t.deepEqual(filled(policy?.rules[0]?.clauses[0]?.[0]) as unknown, expected)
  })
}

const WHENS: readonly (readonly [string, string, object, object])[] = [
  ['source.ip', '10.0.0.0/8', { sourceIps: ['10.0.0.0/8'] }, { notSourceIps: ['10.0.0.0/8'] }],
  [
    'source.namespace',
    'a*',
    { namespaces: [{ kind: 'prefix', value: 'a' }] },
    { notNamespaces: [{ kind: 'prefix', value: 'a' }] },
  ],
  [
    'source.principal',
    '*',
    { principals: [{ kind: 'presence', value: '' }] },
    { notPrincipals: [{ kind: 'presence', value: '' }] },
  ],
  ['destination.ip', '::1', { destinationIps: ['::1/128'] }, { notDestinationIps: ['::1/128'] }],
  ['destination.port', '80', { destinationPorts: [80] }, { notDestinationPorts: [80] }],
]

for (const [key, value, positive, negative] of WHENS) {
  test(`understands the condition ${key}`, (t) => {
    const { policy, issues } = parse({
      rules: [
        {
          when: [
            { key, values: [value] },
            { key, notValues: [value] },
          ],
        },
      ],
    })
    t.deepEqual(issues, [])
    const clauses = policy?.rules[0]?.clauses ?? []
    t.deepEqual(clauses.map((clause) => filled(clause[0])) as unknown, [positive, negative])
  })
}

test('from, to and each condition are clauses of their own', (t) => {
  const { policy } = parse({
    action: 'DENY',
    selector: { matchLabels: { app: 'web' } },
    rules: [
      {
        from: [{ source: { namespaces: ['a'] } }, { source: { namespaces: ['b'] } }],
        to: [{ operation: { ports: ['80'], notPorts: ['81'] } }],
        when: [{ key: 'source.ip', values: ['10.0.0.1'] }],
      },
      {},
    ],
  })
  t.is(policy?.action, 'deny')
  t.deepEqual(policy?.selector, { app: 'web' })
  t.deepEqual(
    policy?.rules.map((rule) => rule.clauses.map((clause) => clause.length)),
    [[2, 1, 1], []],
  )
  t.deepEqual(filled(policy?.rules[0]?.clauses[1]?.[0]) as unknown, {
    destinationPorts: [80],
    notDestinationPorts: [81],
  })
})

test('no rules, and a policy without spec, never match', (t) => {
  t.deepEqual(parse({}).policy, { action: 'allow', rules: [] })
  t.deepEqual(parse(undefined).policy, { action: 'allow', rules: [] })
})

const L7 = 'L7 fields are not supported yet; use L4 fields, or remove the policy'
const KEYS =
  'the keys are source.ip, source.namespace, source.principal, destination.ip, destination.port'
const at = 'spec.rules[0].'

const REFUSED: readonly (readonly [object, string])[] = [
  ...['methods', 'notMethods', 'paths', 'notPaths', 'hosts', 'notHosts'].map(
    (field) => [to({ [field]: ['x'] }), `${at}to[0].operation.${field}: ${L7}`] as const,
  ),
  ...['requestPrincipals', 'notRequestPrincipals', 'remoteIpBlocks', 'notRemoteIpBlocks'].map(
    (field) => [from({ [field]: ['x'] }), `${at}from[0].source.${field}: ${L7}`] as const,
  ),
  [
    from({ trustDomains: ['x'] }),
    `${at}from[0].source.trustDomains: matching by trust domain is not supported yet; use principals`,
  ],
  [
    { rules: [{ when: [{ key: 'request.headers[x]', values: ['y'] }] }] },
    `${at}when[0].key: "request.headers[x]": L7 fields are not supported yet; ${KEYS}`,
  ],
  [
    { rules: [{ when: [{ key: 'source.ips', values: ['y'] }] }] },
    `${at}when[0].key: "source.ips": unknown key; did you mean "source.ip"?; ${KEYS}`,
  ],
  [
    { rules: [{ when: [{ key: 'source.ip' }] }] },
    `${at}when[0]: expected "values" or "notValues", found neither; add one`,
  ],
  [
    { rules: [{ when: [{ key: 'source.ip', values: ['x'] }] }] },
    `${at}when[0].values[0]: expected an IP address or a range such as 10.0.0.0/8, found "x"`,
  ],
  [{ action: 'CUSTOM' }, 'spec.action: expected ALLOW or DENY; CUSTOM is not supported yet'],
  [{ action: 'AUDIT' }, 'spec.action: expected ALLOW or DENY; AUDIT is not supported yet'],
  [{ action: 'deny' }, 'spec.action: expected ALLOW or DENY; found "deny"'],
  [{ targetRefs: [] }, 'spec.targetRefs: "targetRefs" is not supported yet; use "selector"'],
  [{ actoin: 'DENY' }, 'spec.actoin: unknown field; did you mean "action"?'],
  [
    from({}),
    `${at}from[0].source: expected at least one field, found none; fill it or leave it out`,
  ],
  [
    { rules: [{ from: [] }] },
    `${at}from: expected at least one entry, found an empty list; fill it or leave the field out`,
  ],
  [{ rules: [{ from: null }] }, `${at}from: expected a list, found nothing`],
  [
    from({ principals: ['spiffe://td/ns/a/sa/b'] }),
    `${at}from[0].source.principals[0]: expected a principal such as "cluster.local/ns/shop/sa/web", without "spiffe://", found "spiffe://td/ns/a/sa/b"`,
  ],
  [
    from({ ipBlocks: ['10.0.0.0/33'] }),
    `${at}from[0].source.ipBlocks[0]: expected an IP address or a range such as 10.0.0.0/8, found "10.0.0.0/33"`,
  ],
  [
    from({ serviceAccounts: ['a'], principals: ['b'] }),
    `${at}from[0].source.principals: excludes "serviceAccounts" in one source; use two entries of "from"`,
  ],
  [
    to({ ports: ['http'] }),
    `${at}to[0].operation.ports[0]: expected a port number from 1 to 65535 in quotes, such as "8080", found "http"`,
  ],
]

for (const [spec, expected] of REFUSED) {
  test(`refuses ${JSON.stringify(spec)}`, (t) => {
    const { policy, issues } = parse(spec)
    t.deepEqual(issues, [`${SUBJECT}${expected}`])
    t.is(policy, undefined)
  })
}
