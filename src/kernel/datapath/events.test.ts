import test from 'ava'
import { CLOSED, DENIED, EVENTS } from '../abi.ts'
import { entryOf } from './events.ts'

const uidOf = (id: number): string | undefined => ({ 1: 'a', 2: 'b' })[id]

test('tells the end of a direct connection from its source', (t) => {
  const record = CLOSED.encode({
    type: EVENTS.closed,
    reason: 18,
    version: 7n,
    duration_ns: 1_500_000n,
    sent_bytes: 10n,
    received_bytes: 20n,
    source: 1,
    destination: 2,
    srtt_us: 40,
    retransmits: 3,
    tuple: {
      source: '10.0.0.1',
      destination: '10.0.0.2',
      source_port: 40_000,
      destination_port: 8080,
    },
    asked_ip: '10.96.0.1',
    asked_port: 80,
  })
  t.deepEqual(entryOf(record, uidOf), {
    direction: 'outbound',
    path: 'direct',
    reason: 'policy-changed',
    flag: 'DENY',
    detail: '3 retransmits',
    source: { ip: '10.0.0.1', port: 40_000, workload: 'a' },
    destination: { ip: '10.96.0.1', port: 80, endpoint: '10.0.0.2:8080', workload: 'b' },
    sentBytes: 10,
    receivedBytes: 20,
    durationMs: 1.5,
    srttUs: 40,
    version: 7,
  })
})

test('tells a refusal, and leaves out workloads it does not know', (t) => {
  const record = DENIED.encode({
    type: EVENTS.denied,
    reason: 16,
    version: 3n,
    source: 1,
    destination: 9,
    source_ip: 'fd00::1',
    asked_ip: 'fd00::10',
    asked_port: 443,
    endpoint_ip: 'fd00::2',
    endpoint_port: 8443,
  })
  const entry = entryOf(record, uidOf)
  t.is(entry?.reason, 'policy-denied')
  t.is(entry?.source.workload, 'a')
  t.is(entry?.destination.workload, undefined)
  t.is(entry?.destination.endpoint, '[fd00::2]:8443')
})

test('an event of unknown type is no entry', (t) => {
  t.is(entryOf(Buffer.alloc(CLOSED.size, 0xff), uidOf), undefined)
})
