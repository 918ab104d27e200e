import test from 'ava'
import { manualClock } from '../../base/clock.ts'
import type { LocalPod } from '../../model/messages.ts'
import type { TableWorkload } from '../../model/tables.ts'
import { HostWorkloads } from '../host-workloads.ts'
import { hostPod, podOf, tablesOf, workload } from '../testing/world.ts'
import { EndpointChoices } from './endpoints.ts'
import { routeFor } from './route.ts'

const KEY = 'default/web.default.svc.cluster.local'
const HERE = '10.0.0.10'
const THERE = '10.0.0.20'

function shared(name: string, ip: string, port: number, more: Partial<TableWorkload> = {}) {
  const services = { [KEY]: [{ servicePort: 80, targetPort: port }] }
  return workload(name, ip, { hostNetwork: true, services, ...more })
}

const POD = workload('pod', '10.0.0.1')
const WEB = shared('web', HERE, 8080)
const API = shared('api', HERE, 9090, { addresses: [HERE, 'fd00::10'] })
const FAR = shared('far', THERE, 8080)
const FAR_TOO = shared('far-too', THERE, 9090)
const TWIN = shared('twin', THERE, 9090, { serviceAccount: 'far-too' })
const RIVAL = shared('rival', THERE, 7070)
const RIVAL_TOO = shared('rival-too', THERE, 7070)
const PLAIN = shared('plain', THERE, 8080, { tunnel: 'none' })
const ABROAD = shared('abroad', THERE, 6060, { network: 'abroad' })
const PLAIN_ALONE = shared('alone', '10.0.0.30', 8080, { tunnel: 'none' })
const LISTED_NODE = '10.0.0.40'
const BESIDE = shared('beside', LISTED_NODE, 8080)
/** What a list of endpoints makes of the same node, for a port that is in no mesh. */
const LISTED = workload('listed', LISTED_NODE, { tunnel: 'none' })
const ALL = [
  LISTED,
  BESIDE,
  POD,
  WEB,
  API,
  FAR,
  FAR_TOO,
  TWIN,
  RIVAL,
  RIVAL_TOO,
  PLAIN,
  ABROAD,
  PLAIN_ALONE,
]

const NUMBERED = new Map([
  [1, WEB],
  [2, API],
])
/** What the kernel learned on this node. */
const OWNERS = new Map([
  ['*:8080', 1],
  ['127.0.0.1:7000', 2],
  ['*:5000', 9],
])

function hosts(): HostWorkloads {
  const owner = (ip: string, port: number) => OWNERS.get(`${ip}:${port}`) ?? OWNERS.get(`*:${port}`)
  const known = new HostWorkloads(owner, manualClock())
  for (const [number, one] of NUMBERED) known.add(hostPod(one, number))
  return known
}

function words(from: LocalPod, ip: string, port: number): string {
  const tables = tablesOf(1, { workloads: ALL })
  const route = routeFor(tables, from, { ip, port }, new EndpointChoices(), hosts())
  if (route.kind === 'refused') return `${route.reason}: ${route.detail}`
  if (route.kind === 'passthrough') return route.kind
  return route.choice.items
    .map(({ workload: { name }, port, asked }) => `${name} ${asked}:${port}`)
    .join(' ')
}

const pod = podOf(POD)
const web = hostPod(WEB, 1)
const CASES: readonly (readonly [string, LocalPod, string, number, string])[] = [
  ['a pod to a port of this node', pod, HERE, 8080, `web ${HERE}:8080`],
  ['a pod to one where nobody listens yet', pod, HERE, 9090, `api ${HERE}:9090`],
  ['a pod to a port of the node itself', pod, HERE, 22, 'passthrough'],
  ['a pod to a workload that is not known yet', pod, HERE, 5000, 'not known yet'],
  ['a pod to a port of another node', pod, THERE, 8080, `far ${THERE}:8080`],
  ['a pod to one that two of an identity serve', pod, THERE, 9090, `far-too ${THERE}:9090`],
  ['a pod to one that two identities claim', pod, THERE, 7070, 'ambiguous: '],
  ['a pod to one that nobody claims', pod, THERE, 22, 'passthrough'],
  // What this node's kernel knows of its own ports says nothing of another node's.
  ['a pod to one that only this node has', pod, THERE, 5000, 'passthrough'],
  ['a pod to a workload of another network', pod, THERE, 6060, 'passthrough'],
  ['a pod to the tunnel of a node', pod, THERE, 15_008, 'illegal-port'],
  ['a pod to a capture port of this node', pod, HERE, 15_101, 'illegal-port'],
  ['a pod to a node outside the mesh', pod, '10.0.0.30', 8080, 'passthrough'],
  ['a pod to 15008 of a node outside the mesh', pod, '10.0.0.30', 15_008, 'passthrough'],
  ['a pod to a node that is listed as well', pod, LISTED_NODE, 8080, `beside ${LISTED_NODE}:8080`],
  ['a pod to what is listed there', pod, LISTED_NODE, 22, 'listed undefined:22'],
  ['a host workload to its neighbour', web, HERE, 9090, `api ${HERE}:9090`],
  ['a host workload to itself', web, HERE, 8080, `web ${HERE}:8080`],
  ['a host workload to loopback', web, '127.0.0.1', 7000, 'api 127.0.0.1:7000'],
  ['a host workload to what listens everywhere', web, '127.0.0.1', 8080, 'web 127.0.0.1:8080'],
  ['a host workload to another loopback address', web, '127.0.0.2', 7000, 'no-endpoint: nobody'],
  ['a host workload to a listener that went away', web, HERE, 7001, 'no-endpoint: nobody'],
  ['a host workload to the mesh on loopback', web, '127.0.0.1', 15_008, 'illegal-port'],
  ['a host workload to another node', web, THERE, 8080, `far ${THERE}:8080`],
  ['a host workload to the world', web, '192.0.2.1', 443, 'passthrough'],
]

for (const [title, from, ip, port, expected] of CASES) {
  test(`${title}: ${expected}`, (t) => {
    const found = words(from, ip, port)
    t.true(found.includes(expected), found)
  })
}
