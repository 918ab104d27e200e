import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { requireNoConflict } from './conflicts.ts'
import { type RunRequest, register } from './registration.ts'

const request = (name: string, targetPort: number, more: Partial<RunRequest> = {}): RunRequest => ({
  namespace: 'shop',
  name,
  serviceAccount: name,
  labels: {},
  nodeName: 'one',
  cgroup: `weft-hosts.slice/shop_${name}`,
  hostNetwork: true,
  addresses: ['10.0.0.1'],
  services: [{ name, port: 80, targetPort, protocol: 'tcp' }],
  ...more,
})

function directory(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'weft-run-'))
  t.teardown(() => rmSync(path, { recursive: true }))
  register(path, request('a', 8080))
  return path
}

test('another port, and the same port of another node, fit', async (t) => {
  const config = directory(t)
  await t.notThrowsAsync(requireNoConflict(config, request('b', 8081)))
  const elsewhere = { nodeName: 'two', addresses: ['10.0.0.2'] }
  await t.notThrowsAsync(requireNoConflict(config, request('b', 8080, elsewhere)))
})

test('the port of another workload of the node does not, and nothing was written', async (t) => {
  await t.throwsAsync(requireNoConflict(directory(t), request('b', 8080)), {
    code: 'run.conflict',
    message: /serves port 8080 of 10\.0\.0\.1, and so does WorkloadEntry shop\/a at/,
  })
})

test('what is wrong already is not the fault of this run', async (t) => {
  const config = directory(t)
  const broken =
    'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicies\nmetadata: { name: x }'
  writeFileSync(join(config, 'broken.yaml'), broken)
  register(config, request('c', 8080))
  await t.notThrowsAsync(requireNoConflict(config, request('b', 8081)))
})
