import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { parse } from 'yaml'
import { parseServiceRequest, type RunRequest, register, unregister } from './registration.ts'

const requests: readonly (readonly [string, object | undefined])[] = [
  ['web:80', { name: 'web', port: 80, targetPort: 80, protocol: undefined }],
  ['web:80:8080', { name: 'web', port: 80, targetPort: 8080, protocol: undefined }],
  ['web:80:8080/tcp', { name: 'web', port: 80, targetPort: 8080, protocol: 'tcp' }],
  ['web', undefined],
  ['web:0', undefined],
  ['web:80:99999', undefined],
  ['Web:80', undefined],
  ['web:80/', undefined],
]

for (const [text, expected] of requests) {
  test(`--service ${text}`, (t) => t.deepEqual(parseServiceRequest(text), expected as never))
}

const request = (name: string, more: Partial<RunRequest> = {}): RunRequest => ({
  namespace: 'shop',
  name,
  serviceAccount: name,
  labels: {},
  nodeName: 'one',
  cgroup: `shop_${name}`,
  hostNetwork: false,
  addresses: ['10.44.0.2'],
  services: [{ name: 'web', port: 80, targetPort: 8080, protocol: 'tcp' }],
  ...more,
})

test('a service stays while any workload runs it, and goes with the last', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-run-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'run/services/shop_web.yaml')
  register(directory, request('a'))
  const text = readFileSync(file, 'utf8')
  // The mesh gives it an address.
  t.is(parse(text).spec.clusterIP, undefined)
  register(directory, request('b', { nodeName: 'two' }))
  t.is(readFileSync(file, 'utf8'), text)
  unregister(directory, { ...request('a'), services: ['web'] })
  t.true(existsSync(file))
  unregister(directory, { ...request('b', { nodeName: 'two' }), services: ['web'] })
  t.false(existsSync(file))
})

test('a workload on the host network is a WorkloadEntry, and an endpoint like any other', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-run-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const host = request('a', { hostNetwork: true, cgroup: 'weft-hosts.slice/shop_a' })
  register(directory, host)
  const { kind, metadata, spec } = parse(
    readFileSync(join(directory, 'run/one/shop_a.yaml'), 'utf8'),
  )
  t.is(kind, 'WorkloadEntry')
  t.deepEqual(metadata.annotations, {
    'weft.dev/node': 'one',
    'weft.dev/cgroup': 'weft-hosts.slice/shop_a',
  })
  t.like(spec, { address: '10.44.0.2', serviceAccount: 'a' })
  const service = join(directory, 'run/services/shop_web.yaml')
  const { selector } = parse(readFileSync(service, 'utf8')).spec
  t.like(metadata.labels, selector)
  unregister(directory, { ...host, services: ['web'] })
  t.false(existsSync(service))
})

test('refuses the same service with other ports', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-run-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  register(directory, request('a'))
  const other = [{ name: 'web', port: 81, targetPort: 8080, protocol: undefined }]
  t.throws(() => register(directory, request('b', { services: other })), { message: /other ports/ })
})
