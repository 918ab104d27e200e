import test from 'ava'
import { pickWeighted } from '../../balancing/weighted.ts'
import { manualClock } from '../../base/clock.ts'
import { seededRandom } from '../../base/random.ts'
import type { TableService } from '../../model/tables.ts'
import { HostWorkloads } from '../host-workloads.ts'
import { podOf, service, tablesOf, workload } from '../testing/world.ts'
import { addressTowards, EndpointChoices, pickEndpoint } from './endpoints.ts'
import { routeFor } from './route.ts'

const KEY = 'default/web.default.svc.cluster.local'
const pairs = (targetPort: number) => ({ [KEY]: [{ servicePort: 80, targetPort }] })
const A = workload('a', '10.0.0.1')
const B = workload('b', '10.0.0.2', { services: pairs(8080) })
const SICK = workload('sick', '10.0.0.3', { services: pairs(8080), status: 'unhealthy' })
const ZERO = workload('zero', '10.0.0.4', { services: pairs(8080), capacity: 0 })
const NAMED = workload('named', '10.0.0.5', { services: { [KEY]: [] } })
const PLAIN = workload('plain', '10.0.0.6', { tunnel: 'none' })
const WORKLOADS = [A, B, SICK, ZERO, NAMED, PLAIN]

const web = (more: Partial<TableService> = {}, target = 8080): TableService =>
  service('web', '10.96.0.1', [[80, target]], [B, SICK, ZERO, NAMED], more)

function tables(services: readonly TableService[], registryOnly = false) {
  const outboundTrafficPolicy = registryOnly ? 'registry-only' : 'allow-any'
  return tablesOf(1, { workloads: WORKLOADS, services, settings: { outboundTrafficPolicy } })
}

/** The route in a few words. */
function words(services: readonly TableService[], ip: string, port: number, registryOnly = false) {
  const from = podOf(A)
  const hosts = new HostWorkloads(() => undefined, manualClock())
  const all = tables(services, registryOnly)
  const route = routeFor(all, from, { ip, port }, new EndpointChoices(), hosts)
  if (route.kind === 'refused') return route.reason
  if (route.kind === 'passthrough') return `passthrough ${route.service?.name ?? '-'}`
  const endpoints = route.choice.items.map((item) => `${item.workload.name}:${item.port}`)
  return `${route.service?.name ?? '-'} ${endpoints.join(' ')}`
}

const RANGE = service('range', '10.50.0.0/16', [[443, 443]], [], { resolution: 'none' })
const NARROW = service('narrow', '10.50.1.0/24', [[443, 443]], [], { resolution: 'none' })
const V6 = service('six', '::/0', [[443, 443]], [], { resolution: 'none' })

const CASES: readonly (readonly [
  title: string,
  services: readonly TableService[],
  ip: string,
  port: number,
  expected: string,
  registryOnly?: boolean,
])[] = [
  [
    'healthy endpoints with capacity, at their own port',
    [web()],
    '10.96.0.1',
    80,
    'web b:8080 named:8080',
  ],
  [
    'an endpoint without a mapping where the service has none',
    [web({}, 0)],
    '10.96.0.1',
    80,
    'web b:8080',
  ],
  [
    'unhealthy ones where the service wants them',
    [web({ allowUnhealthy: true })],
    '10.96.0.1',
    80,
    'web b:8080 named:8080 sick:8080',
  ],
  ['a port the service does not have', [web()], '10.96.0.1', 81, 'no-endpoint'],
  ['a service without endpoints', [web({ endpoints: [] })], '10.96.0.1', 80, 'no-endpoint'],
  ['a workload by its address', [web()], '10.0.0.2', 9_999, '- b:9999'],
  [
    'the service before a workload of the same address',
    [web({ vips: ['10.0.0.6'] })],
    '10.0.0.6',
    80,
    'web b:8080 named:8080',
  ],
  ['a workload outside the mesh', [], '10.0.0.6', 80, '- plain:80'],
  ['mesh ports of a workload in the mesh', [], '10.0.0.2', 15_008, 'illegal-port'],
  ['port 15008 of a workload outside the mesh', [], '10.0.0.6', 15_008, '- plain:15008'],
  ['mesh ports of the caller', [], '10.0.0.1', 15_001, 'illegal-port'],
  ['mesh ports of loopback', [], '127.0.0.1', 15_006, 'illegal-port'],
  ['capture ports of loopback', [], '::1', 15_101, 'illegal-port'],
  ['what nobody knows', [], '192.0.2.1', 443, 'passthrough -'],
  ['what nobody knows, registry only', [], '192.0.2.1', 443, 'outbound-refused', true],
  ['a range', [RANGE, NARROW], '10.50.9.9', 443, 'passthrough range', true],
  ['the longest range', [RANGE, NARROW], '10.50.1.9', 443, 'passthrough narrow', true],
  ['an IPv6 range holds no IPv4 address', [V6], '192.0.2.1', 443, 'outbound-refused', true],
  ['a resolver on loopback, whatever holds for the rest', [V6], '::1', 53, 'passthrough -', true],
  ['an IPv6 range', [V6], '2001:db8::1', 443, 'passthrough six', true],
]

for (const [title, services, ip, port, expected, registryOnly] of CASES) {
  test(`routes ${title}`, (t) => {
    t.is(words(services, ip, port, registryOnly), expected)
  })
}

test('choices follow the tables', (t) => {
  const choices = new EndpointChoices()
  const target = web()
  const first = tables([target])
  t.is(choices.of(first, target, 80), choices.of(first, target, 80))
  const gone = tablesOf(2, { workloads: [A], services: [target] })
  t.is(choices.of(gone, target, 80).items.length, 0)
})

test('does not pick what was tried, and ends', (t) => {
  const other = workload('c', '10.0.0.7', { services: pairs(8080) })
  const target = service('web', '10.96.0.1', [[80, 8080]], [B, other])
  const all = tablesOf(1, { workloads: [A, B, other], services: [target] })
  const choice = new EndpointChoices().of(all, target, 80)
  const tried = new Set<string>()
  const random = seededRandom(7)
  const usable = (): boolean => true
  for (let at = 0; at < 2; at++) {
    const endpoint = pickEndpoint(choice, tried, usable, random)
    t.false(tried.has(endpoint?.workload.uid ?? ''))
    tried.add(endpoint?.workload.uid ?? '')
  }
  t.is(tried.size, 2)
  t.is(pickEndpoint(choice, tried, usable, random), undefined)
  t.is(
    pickEndpoint(choice, new Set(), () => false, random),
    undefined,
  )
  t.not(pickWeighted(choice, random), undefined)
})

test('keeps the family of the call, or changes to one the caller has', (t) => {
  const dual = workload('dual', '10.0.0.8', { addresses: ['10.0.0.8', 'fd00::8'] })
  const v6 = workload('v6', 'fd00::9')
  const caller4 = podOf(A)
  const caller6 = { ...caller4, addresses: ['fd00::1'] }
  t.is(addressTowards(dual, '10.96.0.1', caller4), '10.0.0.8')
  t.is(addressTowards(dual, 'fd00:96::1', caller6), 'fd00::8')
  t.is(addressTowards(v6, '10.96.0.1', caller4), undefined)
  t.is(addressTowards(v6, '10.96.0.1', caller6), 'fd00::9')
  t.is(addressTowards(workload('none', '', { addresses: [] }), '10.96.0.1', caller4), undefined)
})
