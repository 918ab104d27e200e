// How `weft run` makes a workload known: it writes the Pod or the WorkloadEntry, and the Services
// asked for, into the mesh's configuration directory, where every agent of the mesh reads them.
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parse, stringify } from 'yaml'
import { MeshError } from '../../base/mesh-error.ts'

export interface ServiceRequest {
  readonly name: string
  readonly port: number
  readonly targetPort: number
  /** As in an Istio port name (`tcp`, `http` ...); undefined leaves the port undeclared. */
  readonly protocol: string | undefined
}

export interface RunRequest {
  readonly namespace: string
  readonly name: string
  readonly serviceAccount: string
  readonly labels: Readonly<Record<string, string>>
  readonly nodeName: string
  /** Below the watched cgroup; on the host network below the root of cgroup v2. */
  readonly cgroup: string
  /** It shares this node's network, and has no pod. */
  readonly hostNetwork: boolean
  readonly addresses: readonly string[]
  readonly services: readonly ServiceRequest[]
}

/** `NAME:PORT[:TARGET][/PROTOCOL]`; undefined when malformed. */
export function parseServiceRequest(text: string): ServiceRequest | undefined {
  const match = /^([a-z0-9]([-a-z0-9]*[a-z0-9])?):(\d{1,5})(?::(\d{1,5}))?(?:\/([a-z0-9]+))?$/.exec(
    text,
  )
  if (match === null) return undefined
  const port = Number(match[3])
  const targetPort = match[4] === undefined ? port : Number(match[4])
  if (port < 1 || port > 65535 || targetPort < 1 || targetPort > 65535) return undefined
  return { name: match[1] ?? '', port, targetPort, protocol: match[5] }
}

export function podResource(request: RunRequest): object {
  const labels = labelsOf(request)
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: request.name,
      namespace: request.namespace,
      labels,
      annotations: { 'weft.dev/match': `cgroup=${request.cgroup}` },
    },
    spec: { nodeName: request.nodeName, serviceAccountName: request.serviceAccount },
    status: {
      phase: 'Running',
      podIP: request.addresses[0],
      podIPs: request.addresses.map((ip) => ({ ip })),
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  }
}

/** `ports` are its own beside those that services lead to. */
export function hostResource(
  request: RunRequest,
  ports: Readonly<Record<string, number>> = {},
): object {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadEntry',
    metadata: {
      name: request.name,
      namespace: request.namespace,
      labels: labelsOf(request),
      annotations: { 'weft.dev/node': request.nodeName, 'weft.dev/cgroup': request.cgroup },
    },
    spec: { address: request.addresses[0], serviceAccount: request.serviceAccount, ports },
  }
}

function labelsOf(request: RunRequest): Readonly<Record<string, string>> {
  const served = request.services.map(({ name }) => [serviceLabel(name), 'true'])
  return { app: request.name, ...request.labels, ...Object.fromEntries(served) }
}

function serviceResource(
  namespace: string,
  name: string,
  ports: readonly ServiceRequest[],
): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: {
      selector: { [serviceLabel(name)]: 'true' },
      ports: ports.map((each) => ({
        name: `${each.protocol ?? 'port'}-${each.port}`,
        port: each.port,
        targetPort: each.targetPort,
        protocol: each.protocol === 'udp' ? 'UDP' : 'TCP',
      })),
    },
  }
}

/** Makes the workload, and the services it serves, known to the mesh. */
export function register(configDirectory: string, request: RunRequest): void {
  const root = join(configDirectory, 'run')
  for (const [name, ports] of Map.groupBy(request.services, (service) => service.name)) {
    registerService(root, request.namespace, name, ports)
  }
  const workload = request.hostNetwork ? hostResource(request) : podResource(request)
  writeWhole(podFile(root, request), stringify(workload))
}

/** Takes back what `register` wrote; services stay while another workload serves them. */
export function unregister(
  configDirectory: string,
  run: {
    readonly nodeName: string
    readonly namespace: string
    readonly name: string
    readonly services: readonly string[]
  },
): void {
  const root = join(configDirectory, 'run')
  rmSync(podFile(root, run), { force: true })
  for (const name of run.services) retireService(root, run.namespace, name)
}

function podFile(
  root: string,
  run: { readonly nodeName: string; readonly namespace: string; readonly name: string },
): string {
  return join(root, run.nodeName, `${run.namespace}_${run.name}.yaml`)
}

function registerService(
  root: string,
  namespace: string,
  name: string,
  ports: readonly ServiceRequest[],
): void {
  const file = serviceFile(root, namespace, name)
  const existing = readResource(file)
  const wanted = serviceResource(namespace, name, ports)
  if (existing === undefined) {
    writeWhole(file, stringify(wanted))
    return
  }
  if (JSON.stringify(existing) === JSON.stringify(wanted)) return
  throw new MeshError(
    'run.service',
    `service ${namespace}/${name} is already run with other ports (${file}): give the same --service, or another name`,
  )
}

/** The Service goes with its last workload. */
function retireService(root: string, namespace: string, name: string): void {
  const label = serviceLabel(name)
  for (const file of podFiles(root)) {
    const pod = readResource(file)
    if (pod?.metadata?.namespace === namespace && pod.metadata.labels?.[label] !== undefined) return
  }
  rmSync(serviceFile(root, namespace, name), { force: true })
}

const serviceLabel = (name: string): string => `service.weft.dev/${name}`

const serviceFile = (root: string, namespace: string, name: string): string =>
  join(root, 'services', `${namespace}_${name}.yaml`)

function podFiles(root: string): readonly string[] {
  try {
    return readdirSync(root, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name !== 'services')
      .flatMap((entry) => listYaml(join(root, entry.name)))
  } catch {
    return []
  }
}

function listYaml(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith('.yaml'))
      .map((name) => join(directory, name))
  } catch {
    return []
  }
}

interface AnyResource {
  readonly metadata?: { readonly namespace?: string; readonly labels?: Record<string, string> }
}

function readResource(file: string): AnyResource | undefined {
  try {
    return parse(readFileSync(file, 'utf8')) as AnyResource
  } catch {
    return undefined
  }
}

/** A reader never sees half a file. */
function writeWhole(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true })
  const draft = join(dirname(file), `.${process.pid}.tmp`)
  writeFileSync(draft, text)
  renameSync(draft, file)
}
