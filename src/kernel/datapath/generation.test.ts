import test from 'ava'
import fc from 'fast-check'
import type { WantedMaps, WantedVerdict } from '../../model/wanted-maps.ts'
import { RULE, RULE_KEY, RULE_KINDS, VERDICTS } from '../abi.ts'
import { denials, encodeGeneration, type Generation, uidsOf } from './generation.ts'

const UIDS = ['a', 'b', 'c', 'd']
const idOf = (uid: string): number => UIDS.indexOf(uid) + 1

type Answer =
  | { readonly kind: 'agent' }
  | { readonly kind: 'deny' | 'allow'; readonly ip: string; readonly port: number }

/** What `connect` answers for each backend it may pick; bpf/lib/rules.h in another language. */
function judge(generation: Generation, source: string, ip: string, port: number): Answer[] {
  const rules = new Map<string, ReturnType<typeof RULE.decode>>()
  for (let at = 0; at < generation.count; at++) {
    const key = generation.keys.subarray(at * RULE_KEY.size, (at + 1) * RULE_KEY.size)
    const value = generation.values.subarray(at * RULE.size, (at + 1) * RULE.size)
    rules.set(key.toString('hex'), RULE.decode(value))
  }
  const rule = (key: Parameters<typeof RULE_KEY.encode>[0]) =>
    rules.get(RULE_KEY.encode(key).toString('hex'))
  const service = rule({ kind: RULE_KINDS.service, a: 6, b: port, ip })
  if (service === undefined) return [{ kind: 'agent' }]
  return Array.from({ length: service.count }, (_, index): Answer => {
    const backend = rule({ kind: RULE_KINDS.backend, a: service.value, b: index })
    if (backend === undefined) return { kind: 'agent' }
    const b = backend.value
    const found = [
      [idOf(source), backend.port],
      [idOf(source), 0],
      [0, backend.port],
      [0, 0],
    ]
      .map(([a, c]) => rule({ kind: RULE_KINDS.verdict, a: a ?? 0, b, c: c ?? 0 }))
      .find((one) => one !== undefined)
    const verdict = found?.value ?? VERDICTS.agent
    if (verdict === VERDICTS.agent) return { kind: 'agent' }
    const kind = verdict === VERDICTS.allow ? 'allow' : 'deny'
    return { kind, ip: backend.ip, port: backend.port }
  })
}

const backend = fc.record({
  ip: fc.constantFrom('10.0.0.1', '10.0.0.2', 'fd00::1'),
  port: fc.constantFrom(80, 8080),
  workload: fc.constantFrom(...UIDS),
})
const wantedMaps: fc.Arbitrary<WantedMaps> = fc.record({
  version: fc.nat(1000),
  services: fc.array(
    fc.record({
      ip: fc.constantFrom('10.96.0.1', '10.96.0.2'),
      port: fc.constantFrom(80, 81),
      protocol: fc.constant('tcp' as const),
      backends: fc.array(backend, { maxLength: 3 }),
    }),
    { maxLength: 4 },
  ),
  verdicts: fc.array(
    fc.record({
      source: fc.constantFrom('*', ...UIDS),
      destination: fc.constantFrom(...UIDS),
      port: fc.constantFrom(0, 80, 8080),
      verdict: fc.constantFrom('allow' as const, 'deny' as const, 'agent' as const),
    }),
    { maxLength: 12 },
  ),
})

const allowsOf = (wanted: WantedMaps): Set<string> => {
  const generation = encodeGeneration(wanted, idOf)
  const found = new Set<string>()
  for (const source of UIDS) {
    for (const ip of ['10.96.0.1', '10.96.0.2']) {
      for (const port of [80, 81]) {
        for (const answer of judge(generation, source, ip, port)) {
          if (answer.kind !== 'allow') continue
          found.add(`${source} ${ip}:${port} ${answer.ip}:${answer.port}`)
        }
      }
    }
  }
  return found
}

/** Without entries that repeat a key: which of them holds is not stated. */
function unambiguous({ services, verdicts }: WantedMaps): boolean {
  const keys = [
    ...services.map(({ ip, port }) => `${ip} ${port}`),
    ...verdicts.map(({ source, destination, port }) => `${source} ${destination} ${port}`),
  ]
  return new Set(keys).size === keys.length
}

test('the generation between two allows nothing that either does not', (t) => {
  fc.assert(
    fc.property(
      wantedMaps.filter(unambiguous),
      wantedMaps.filter(unambiguous),
      (before, wanted) => {
        const between = allowsOf(denials(before, wanted))
        t.true(between.isSubsetOf(allowsOf(wanted)))
        t.true(between.isSubsetOf(allowsOf(before)))
      },
    ),
  )
})

test('what did not change stays allowed between two generations', (t) => {
  fc.assert(
    fc.property(wantedMaps.filter(unambiguous), (wanted) => {
      t.deepEqual(allowsOf(denials(wanted, wanted)), allowsOf(wanted))
    }),
  )
})

test('a new denial is in force at once, even for an agent that knows nothing of before', (t) => {
  const deny: WantedVerdict = { source: '*', destination: 'b', port: 0, verdict: 'deny' }
  const services = [
    {
      ip: '10.96.0.1',
      port: 80,
      protocol: 'tcp' as const,
      backends: [{ ip: '10.0.0.1', port: 80, workload: 'b' }],
    },
  ]
  const before = {
    version: 1,
    services,
    verdicts: [{ ...deny, verdict: 'allow' as const }],
  }
  const between = denials(before, { version: 2, services, verdicts: [deny] })
  const answer = judge(encodeGeneration(between, idOf), 'a', '10.96.0.1', 80)
  t.deepEqual(answer, [{ kind: 'deny', ip: '10.0.0.1', port: 80 }])
  t.is(allowsOf(denials(undefined, before)).size, 0)
})

test('names every workload a generation speaks of', (t) => {
  const wanted: WantedMaps = {
    version: 1,
    services: [
      {
        ip: '10.96.0.1',
        port: 80,
        protocol: 'tcp',
        backends: [{ ip: '10.0.0.1', port: 80, workload: 'b' }],
      },
    ],
    verdicts: [
      { source: '*', destination: 'c', port: 0, verdict: 'deny' },
      { source: 'a', destination: 'b', port: 0, verdict: 'allow' },
    ],
  }
  t.deepEqual([...uidsOf(wanted)].sort(), ['a', 'b', 'c'])
})
