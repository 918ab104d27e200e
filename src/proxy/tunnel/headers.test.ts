import test from 'ava'
import { seededRandom } from '../../base/random.ts'
import { workload } from '../testing/world.ts'
import { baggage, requestHeaders } from './headers.ts'

const SOURCE = workload('shop', '10.0.0.1', {
  workloadName: 'shop-v1',
  workloadType: 'deployment',
  canonicalName: 'shop',
  canonicalRevision: 'v1',
  locality: { region: 'eu', zone: 'eu-1', subzone: '' },
})

test('baggage has the names and order of ztunnel', (t) => {
  t.is(
    baggage(SOURCE),
    'k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=shop-v1,' +
      'service.name=shop,service.version=v1,cloud.region=eu,cloud.availability_zone=eu-1',
  )
})

test('empty fields are left out, and no field can break the header', (t) => {
  const odd = workload('x', '10.0.0.1', {
    clusterId: '',
    workloadType: 'job',
    workloadName: 'a,b c\r\nd',
    canonicalName: '',
    canonicalRevision: '',
  })
  t.is(baggage(odd), 'k8s.namespace.name=default,k8s.job.name=a-b-c--d')
})

test('forwarded names the caller, and the service where there is one', (t) => {
  const random = seededRandom(1)
  const client = { ip: '10.0.0.1', port: 1234 }
  const call = { source: SOURCE, client, service: undefined }
  t.is(requestHeaders(call, random).forwarded, 'for="10.0.0.1:1234"')
  t.is(
    requestHeaders({ ...call, service: 'web.default.svc' }, random).forwarded,
    'for="10.0.0.1:1234";host=web.default.svc',
  )
  const six = { ip: 'fd00::1', port: 1 }
  t.is(requestHeaders({ ...call, client: six }, random).forwarded, 'for="[fd00::1]:1"')
})

test('every call has a trace of its own', (t) => {
  const random = seededRandom(1)
  const call = { source: SOURCE, client: { ip: '10.0.0.1', port: 1 }, service: undefined }
  const seen = new Set<string>()
  for (let at = 0; at < 1_000; at++) {
    const { traceparent = '' } = requestHeaders(call, random)
    t.regex(traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
    seen.add(traceparent)
  }
  t.is(seen.size, 1_000)
})
