// Turns wanted rules into one generation of the kernel's map. Pure but for `publish`.
import type {
  WantedBackend,
  WantedMaps,
  WantedService,
  WantedVerdict,
} from '../../model/wanted-maps.ts'
import { RULE, RULE_KEY, RULE_KINDS, VERDICTS } from '../abi.ts'
import type { BpfMap, Kernel } from '../kernel.ts'

export interface Generation {
  readonly keys: Buffer
  readonly values: Buffer
  readonly count: number
}

const PROTOCOLS = { tcp: 6, udp: 17 } as const

/** `idOf` gives the number of a workload; 0 stands for every source. */
export function encodeGeneration(wanted: WantedMaps, idOf: (uid: string) => number): Generation {
  const keys: Buffer[] = []
  const values: Buffer[] = []
  const version = BigInt(wanted.version)
  const add = (key: Parameters<typeof RULE_KEY.encode>[0], value: object): void => {
    keys.push(RULE_KEY.encode(key))
    values.push(RULE.encode({ version, ...value }))
  }
  for (const [index, service] of distinct(wanted.services, serviceKey).entries()) {
    const id = index + 1
    add(
      {
        kind: RULE_KINDS.service,
        a: PROTOCOLS[service.protocol],
        b: service.port,
        ip: service.ip,
      },
      { value: id, count: service.backends.length },
    )
    for (const [at, backend] of service.backends.entries()) {
      add(
        { kind: RULE_KINDS.backend, a: id, b: at },
        { ip: backend.ip, port: backend.port, value: idOf(backend.workload) },
      )
    }
  }
  for (const verdict of distinct(wanted.verdicts, verdictKey)) {
    const source = verdict.source === '*' ? 0 : idOf(verdict.source)
    add(
      { kind: RULE_KINDS.verdict, a: source, b: idOf(verdict.destination), c: verdict.port },
      { value: VERDICTS[verdict.verdict] },
    )
  }
  return { keys: Buffer.concat(keys), values: Buffer.concat(values), count: keys.length }
}

/**
 * The generation between two: it allows nothing that either does not. Services keep only the
 * backends both have; where a destination's verdicts differ, what `wanted` allows goes to the
 * agent, and what it denies is denied at once.
 */
export function denials(before: WantedMaps | undefined, wanted: WantedMaps): WantedMaps {
  const services = new Map(before?.services.map((service) => [serviceKey(service), service]))
  const old = byDestination(before?.verdicts ?? [])
  const verdicts = [...byDestination(wanted.verdicts)].flatMap(([destination, rules]) =>
    sameRules(old.get(destination), rules) ? rules : rules.map(withoutPermission),
  )
  return {
    version: wanted.version,
    services: wanted.services.flatMap((service) => {
      const known = new Set(services.get(serviceKey(service))?.backends.map(backendKey))
      const backends = service.backends.filter((backend) => known.has(backendKey(backend)))
      return backends.length === 0 ? [] : [{ ...service, backends }]
    }),
    verdicts,
  }
}

/** Every uid a generation names. */
export function uidsOf(wanted: WantedMaps): Set<string> {
  const uids = new Set<string>()
  for (const service of wanted.services) {
    for (const backend of service.backends) uids.add(backend.workload)
  }
  for (const { source, destination } of wanted.verdicts) {
    if (source !== '*') uids.add(source)
    uids.add(destination)
  }
  return uids
}

/**
 * Makes the generation's map and swaps it in. Readers hold the old map until their hook ends: the
 * kernel waits for them inside the update.
 */
export function publish(kernel: Kernel, slot: BpfMap, generation: Generation): void {
  const rules = kernel.createMap({
    name: 'weft_rules',
    type: 'hash',
    keySize: RULE_KEY.size,
    valueSize: RULE.size,
    maxEntries: Math.max(1, generation.count),
  })
  try {
    if (generation.count > 0) {
      rules.updateBatch(generation.keys, generation.values, generation.count)
    }
    slot.updateFd(Buffer.alloc(4), rules.fd)
  } finally {
    rules.close()
  }
}

function withoutPermission(rule: WantedVerdict): WantedVerdict {
  return rule.verdict === 'allow' ? { ...rule, verdict: 'agent' } : rule
}

function byDestination(verdicts: readonly WantedVerdict[]): Map<string, WantedVerdict[]> {
  return Map.groupBy(verdicts, ({ destination }) => destination)
}

function sameRules(a: readonly WantedVerdict[] | undefined, b: readonly WantedVerdict[]): boolean {
  if (a?.length !== b.length) return false
  const known = new Set(a.map((rule) => `${verdictKey(rule)} ${rule.verdict}`))
  return b.every((rule) => known.has(`${verdictKey(rule)} ${rule.verdict}`))
}

/** The last of those with the same key. */
function distinct<T>(items: readonly T[], keyOf: (item: T) => string): T[] {
  return [...new Map(items.map((item) => [keyOf(item), item])).values()]
}

const serviceKey = ({ ip, port, protocol }: WantedService): string => `${protocol} ${ip} ${port}`
const backendKey = ({ ip, port, workload }: WantedBackend): string => `${ip} ${port} ${workload}`
const verdictKey = ({ source, destination, port }: WantedVerdict): string =>
  `${source} ${destination} ${port}`
