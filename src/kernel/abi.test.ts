import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import fc from 'fast-check'
import { LIMITS } from '../model/limits.ts'
import { REASONS, reasonOfNumber } from '../model/reason.ts'
import {
  ABI_LAYOUTS,
  ABI_VERSION,
  CGROUP_DEPTH_MAX,
  CGROUP_NAME_MAX,
  CGROUP_ROOT,
  CLOSED,
  COUNTERS,
  COUNTERS_MAX,
  DELIVERY_MARK,
  decodeSockOrigin,
  EVENTS,
  HOST_FLAGS,
  LISTENER_CLASSES,
  ORIGIN,
  RULE_KINDS,
  SOCK_KINDS,
  VERDICTS,
} from './abi.ts'

const BPF = fileURLToPath(new URL('../../bpf/', import.meta.url))

/** `#define NAME number` lines of a header. */
function definitions(header: string): Map<string, number> {
  const text = readFileSync(`${BPF}include/${header}`, 'utf8')
  const found = text.matchAll(/^#define (WEFT_[A-Z0-9_]+) (0x[0-9a-f]+|[0-9]+)\b/gm)
  return new Map([...found].map((match) => [match[1] ?? '', Number(match[2])]))
}

function defined(prefix: string): Record<string, number> {
  const entries = [...definitions('abi.h')].filter(([name]) => name.startsWith(prefix))
  return Object.fromEntries(
    entries.map(([name, value]) => [name.slice(prefix.length).toLowerCase(), value]),
  )
}

interface BtfType {
  readonly kind: string
  readonly name: string
  readonly size?: number
  readonly members?: readonly { readonly name: string; readonly bits_offset: number }[]
}

function structsOfBtf(): Map<string, BtfType> {
  const object = `${BPF}out/abi.o`
  if (!existsSync(object)) throw new Error('bpf/out/abi.o is missing: run "npm run bpf:build"')
  const dump = spawnSync('bpftool', ['btf', 'dump', '-j', 'file', object], { encoding: 'utf8' })
  const types = (JSON.parse(dump.stdout) as { types: BtfType[] }).types
  return new Map(types.filter((type) => type.kind === 'STRUCT').map((type) => [type.name, type]))
}

test('every layout is the one clang compiled', (t) => {
  const structs = structsOfBtf()
  for (const { name, size, places } of ABI_LAYOUTS) {
    const struct = structs.get(name)
    t.is(struct?.size, size, name)
    t.deepEqual(
      places.map((place) => [place.name, place.offset * 8]),
      (struct?.members ?? []).map((member) => [member.name, member.bits_offset]),
      name,
    )
  }
})

test('every shared struct has a layout', (t) => {
  const known = new Set<string>(['weft_ip', ...ABI_LAYOUTS.map(({ name }) => name)])
  t.deepEqual(
    [...structsOfBtf().keys()].filter((name) => name.startsWith('weft_') && !known.has(name)),
    [],
  )
})

test('numbers are those of abi.h', (t) => {
  t.is(definitions('abi.h').get('WEFT_ABI'), ABI_VERSION)
  t.is(definitions('abi.h').get('WEFT_DELIVERY_MARK'), DELIVERY_MARK)
  t.is(definitions('abi.h').get('WEFT_COUNTERS'), COUNTERS_MAX)
  t.is(definitions('abi.h').get('WEFT_CGROUP_ROOT'), Number(CGROUP_ROOT))
  const { none: _, ...kinds } = SOCK_KINDS
  t.deepEqual(defined('WEFT_SOCK_'), kinds)
  t.deepEqual(defined('WEFT_COUNT_'), { ...COUNTERS })
  t.deepEqual(defined('WEFT_CLASS_'), { ...LISTENER_CLASSES })
  t.deepEqual(defined('WEFT_RULE_'), { ...RULE_KINDS })
  t.deepEqual(defined('WEFT_VERDICT_'), { ...VERDICTS })
  t.deepEqual(defined('WEFT_EVENT_'), { ...EVENTS })
  t.deepEqual(defined('WEFT_HOST_'), { ...HOST_FLAGS })
})

test('reasons of abi.h are in the catalogue, and counters lie above them', (t) => {
  for (const [name, number] of Object.entries(defined('WEFT_REASON_'))) {
    t.is(reasonOfNumber(number), name.replaceAll('_', '-') as keyof typeof REASONS)
  }
  const highest = Math.max(...Object.values(REASONS).map((info) => info.number))
  t.true(highest < Math.min(...Object.values(COUNTERS)))
  t.true(Math.max(...Object.values(COUNTERS)) < COUNTERS_MAX)
})

test('limits.h repeats model/limits.ts', (t) => {
  const limits = definitions('limits.h')
  const shared = {
    WEFT_WORKERS_MAX: LIMITS.workersMax,
    WEFT_CAPTURE_PORTS: LIMITS.capturePorts,
    WEFT_CAPTURE_PORT_FIRST: LIMITS.capturePortFirst,
    WEFT_HBONE_PORT: LIMITS.hbonePort,
    WEFT_PODS_MAX: LIMITS.podsMax,
    WEFT_ATTEST_MAX: LIMITS.attestMax,
    WEFT_ORIGINS_MAX: LIMITS.originsMax,
    WEFT_DNS_SLOTS: LIMITS.dnsSlots,
    WEFT_HOSTS_MAX: LIMITS.hostsMax,
    WEFT_HOST_PORTS_MAX: LIMITS.hostPortsMax,
    WEFT_CGROUP_NAME_MAX: CGROUP_NAME_MAX,
    WEFT_CGROUP_DEPTH_MAX: CGROUP_DEPTH_MAX,
  }
  for (const [name, value] of Object.entries(shared)) t.is(limits.get(name), value, name)
  t.is(LIMITS.cgroupDepthMax, CGROUP_DEPTH_MAX)
  // The ending zero, and one more that says that nothing was cut.
  t.is(LIMITS.cgroupNameBytesMax + 2, CGROUP_NAME_MAX)
})

test('a struct survives encoding and decoding', (t) => {
  const port = fc.integer({ min: 0, max: 65535 })
  const u32 = fc.integer({ min: 0, max: 0xffff_ffff })
  const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })
  const ip = fc.constantFrom('10.0.0.1', '255.255.255.255', '::', 'fd00::1', '2001:db8::a:b')
  const tuple = fc.record({
    source: ip,
    destination: ip,
    source_port: port,
    destination_port: port,
  })
  const closed = fc.record({
    type: u32,
    reason: u32,
    version: u64,
    cookie: u64,
    duration_ns: u64,
    sent_bytes: u64,
    received_bytes: u64,
    source: u32,
    destination: u32,
    srtt_us: u32,
    retransmits: u32,
    tuple,
    asked_ip: ip,
    asked_port: port,
    pad: fc.constant(0),
  })
  fc.assert(
    fc.property(closed, (value) => {
      t.deepEqual(CLOSED.decode(CLOSED.encode(value)), value)
    }),
  )
})

test('a socket without storage, or with an empty one, has no original destination', (t) => {
  t.is(decodeSockOrigin(undefined), undefined)
  t.is(decodeSockOrigin(Buffer.alloc(ORIGIN.size)), undefined)
  t.deepEqual(decodeSockOrigin(ORIGIN.encode({ ip: '10.1.2.3', port: 443 })), {
    ip: '10.1.2.3',
    port: 443,
    workload: 0,
  })
})

test('refuses a value that is shorter than its struct', (t) => {
  t.throws(() => ORIGIN.decode(Buffer.alloc(ORIGIN.size - 1)), { message: /weft_origin: 23 bytes/ })
})
