import test from 'ava'
import { REASONS } from '../../model/reason.ts'
import { podOf, service, tablesOf, workload } from '../testing/world.ts'
import { connectTarget, parseConnect } from './connect-target.ts'

const KEY = 'default/web.default.svc.cluster.local'
const HOST = 'web.default.svc.cluster.local'
const POD = workload('b', '10.0.0.2', {
  addresses: ['10.0.0.2', 'fd00::2'],
  services: {
    [KEY]: [
      { servicePort: 80, targetPort: 8080 },
      { servicePort: 81, targetPort: 15_008 },
    ],
  },
})
const TABLES = tablesOf(1, {
  workloads: [POD],
  services: [
    service('web', '10.96.0.1', [[80, 8080]], [POD]),
    service('other', '10.96.0.2', [[80, 8080]], []),
  ],
})

/** `ip:port`, or the status of the refusal. */
function answer(method: string, authority: string, localIp = '10.0.0.2'): string | number {
  const parsed = parseConnect({ method, authority })
  if (!parsed.ok) return REASONS[parsed.error.reason].hbone
  const local = { ip: localIp, port: 15_008 }
  const target = connectTarget(parsed.value, local, podOf(POD), POD, TABLES)
  if (!target.ok) return REASONS[target.error.reason].hbone
  return `${target.value.ip} ${target.value.port}`
}

const CASES: readonly (readonly [string, string, string | number, string?])[] = [
  ['CONNECT', '10.0.0.2:8080', '10.0.0.2 8080'],
  ['CONNECT', '[fd00::2]:8080', 'fd00::2 8080', 'fd00::2'],
  ['CONNECT', '[FD00:0::2]:8080', 'fd00::2 8080', 'fd00::2'],
  ['CONNECT', `${HOST}:80`, '10.0.0.2 8080'],
  ['CONNECT', `${HOST.toUpperCase()}:80`, '10.0.0.2 8080'],
  // Not CONNECT.
  ['GET', '10.0.0.2:8080', 400],
  ['connect', '10.0.0.2:8080', 400],
  ['', '10.0.0.2:8080', 400],
  // Unparsable, or no port.
  ['CONNECT', '', 400],
  ['CONNECT', '10.0.0.2', 400],
  ['CONNECT', '10.0.0.2:', 400],
  ['CONNECT', '10.0.0.2:0', 400],
  ['CONNECT', '10.0.0.2:65536', 400],
  ['CONNECT', '10.0.0.2:8080x', 400],
  ['CONNECT', '10.0.0.256:8080', 400],
  ['CONNECT', '10.0.2:8080', 400],
  ['CONNECT', 'fd00::2:8080', 400],
  ['CONNECT', '[10.0.0.2]:8080', 400],
  ['CONNECT', 'user@10.0.0.2:8080', 400],
  ['CONNECT', `${HOST}`, 400],
  ['CONNECT', `${HOST}:99999`, 400],
  ['CONNECT', 'a b:80', 400],
  // Another workload.
  ['CONNECT', '10.0.0.3:8080', 400],
  ['CONNECT', '127.0.0.1:8080', 400],
  ['CONNECT', '127.0.0.1:8080', 400, '127.0.0.1'],
  ['CONNECT', '[fd00::2]:8080', 400, '10.0.0.2'],
  // Names nobody has, that are not ours, or without that port.
  ['CONNECT', 'nobody.example:80', 503],
  ['CONNECT', 'other.default.svc.cluster.local:80', 503],
  ['CONNECT', `${HOST}:8080`, 503],
  // Ports of the mesh.
  ['CONNECT', '10.0.0.2:15001', 503],
  ['CONNECT', '10.0.0.2:15006', 503],
  ['CONNECT', '10.0.0.2:15008', 503],
  ['CONNECT', '10.0.0.2:15101', 503],
  ['CONNECT', '10.0.0.2:15132', 503],
  ['CONNECT', `${HOST}:81`, 503],
  ['CONNECT', '10.0.0.2:15133', '10.0.0.2 15133'],
]

for (const [method, authority, expected, localIp] of CASES) {
  test(`${method} ${authority}${localIp ? ` at ${localIp}` : ''} -> ${expected}`, (t) => {
    t.is(answer(method, authority, localIp), expected)
  })
}
