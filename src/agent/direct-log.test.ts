import test from 'ava'
import { PersistentMap } from '../base/persistent-map.ts'
import type { AccessEntry } from '../model/access-entry.ts'
import type { Tables } from '../model/tables.ts'
import { completeDirectEntry } from './direct-log.ts'

const ENTRY: AccessEntry = {
  direction: 'outbound',
  path: 'direct',
  reason: 'completed',
  flag: '-',
  source: { ip: '10.0.0.1', port: 1, workload: 'uid/a' },
  destination: { ip: '10.96.0.1', port: 80, workload: 'uid/gone', endpoint: '10.0.0.2:80' },
  sentBytes: 1,
  receivedBytes: 2,
  durationMs: 3,
  version: 4,
}

const workload = { name: 'a', namespace: 'n', trustDomain: 't', serviceAccount: 's' }
const tables = {
  workloads: PersistentMap.from([['uid/a', workload]]),
  services: PersistentMap.from([['n/web', { hostname: 'web.n.svc' }]]),
  serviceByVip: PersistentMap.from([['10.96.0.1', 'n/web']]),
} as unknown as Tables

test('names workloads, service and the attested identity', (t) => {
  const done = completeDirectEntry(ENTRY, tables)
  t.like(done.source, { workload: 'a', namespace: 'n', identity: 'spiffe://t/ns/n/sa/s' })
  t.like(done.destination, { workload: 'uid/gone', service: 'web.n.svc', identity: undefined })
})

test('without tables the record stays as the kernel wrote it', (t) => {
  t.is(completeDirectEntry(ENTRY, undefined), ENTRY)
})
