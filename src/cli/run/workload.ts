// The life of a workload under `weft run`: made, brought into the mesh, run, and taken away again,
// also when it is interrupted.
import { join } from 'node:path'
import { markName } from '../../agent/enrolment-marks.ts'
import { MeshError } from '../../base/mesh-error.ts'
import { loadDirectory } from '../../discovery/file-source.ts'
import { DEFAULT_MESH_SETTINGS } from '../../model/mesh-settings.ts'
import { claimAddress, type Pool } from './address-pool.ts'
import { requireNoConflict } from './conflicts.ts'
import { type Launched, launch, markAppears } from './launch.ts'
import { ensureBridge, makeNetwork, podNetwork } from './network.ts'
import {
  addressDirectory,
  claimRecord,
  collectDeadRuns,
  enrolmentMark,
  type RunRecord,
  undoRun,
  updateRecord,
} from './record.ts'
import { type RunRequest, register, type ServiceRequest } from './registration.ts'

/** Where a workload lives that has a network of its own. */
export interface PodPlace {
  readonly kind: 'pod'
  readonly workloadsCgroup: string
  readonly pools: readonly Pool[]
  readonly netns: string | undefined
}

/** Where one lives that shares the node's. */
export interface HostPlace {
  readonly kind: 'host'
  /** Of the node. */
  readonly address: string
  /** Absolute path of its cgroup, and the same below the root of cgroup v2. */
  readonly cgroup: string
  readonly cgroupBelowRoot: string
}

export interface WorkloadRequest {
  readonly configDirectory: string
  readonly stateDirectory: string
  readonly place: PodPlace | HostPlace
  readonly nodeName: string
  readonly namespace: string
  readonly name: string
  readonly serviceAccount: string
  readonly labels: Readonly<Record<string, string>>
  readonly services: readonly ServiceRequest[]
  readonly enrolTimeoutMs: number
  readonly command: readonly string[]
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Resolves with the program's exit code when nothing of the workload is left. */
export async function runWorkload(request: WorkloadRequest): Promise<number> {
  const state = request.stateDirectory
  await collectDeadRuns(state)
  const interruption = new Interruption()
  const first = firstRecord(request)
  claimRecord(state, first)
  // What is taken away in the end is what was written down last.
  let record = first
  const note = (next: RunRecord): void => {
    record = next
    updateRecord(state, next)
  }
  try {
    const { place } = request
    const made =
      place.kind === 'pod' ? makePod(request, place, first, note) : hostRun(request, place)
    if (place.kind === 'host') await requireNoConflict(request.configDirectory, made)
    register(request.configDirectory, made)
    await tellNames(request.configDirectory, made)
    const launched = launch(record.network?.namespace, record.cgroup, request.command)
    interruption.tell(launched)
    await enrolled(request, launched)
    launched.open()
    return await launched.ended
  } finally {
    await undoRun(state, record)
    interruption.end()
  }
}

/** Addresses, bridge and namespace. */
function makePod(
  request: WorkloadRequest,
  place: PodPlace,
  first: RunRecord,
  note: (record: RunRecord) => void,
): RunRequest {
  const directory = addressDirectory(request.stateDirectory)
  const claimed = place.pools.map((pool) => ({
    pool,
    address: claimAddress(pool, first.name, directory, process.pid),
  }))
  const addresses = claimed.map(({ address }) => address)
  note({ ...first, addresses })
  ensureBridge(place.pools)
  if (first.network !== undefined) makeNetwork(first.network, claimed)
  const cgroup = markName(request.namespace, request.name)
  return { ...request, hostNetwork: false, addresses, cgroup }
}

function hostRun(request: WorkloadRequest, { address, cgroupBelowRoot }: HostPlace): RunRequest {
  return { ...request, hostNetwork: true, addresses: [address], cgroup: cgroupBelowRoot }
}

function firstRecord(request: WorkloadRequest): RunRecord {
  const { namespace, name, nodeName, configDirectory, place } = request
  const where =
    place.kind === 'pod'
      ? {
          cgroup: join(place.workloadsCgroup, markName(namespace, name)),
          network: podNetwork(nodeName, namespace, name, place.netns),
        }
      : { cgroup: place.cgroup }
  return {
    pid: process.pid,
    namespace,
    name,
    nodeName,
    configDirectory,
    ...where,
    addresses: [],
    services: [...new Set(request.services.map((service) => service.name))],
  }
}

/** Where the workload is, and what to call. On standard error: the other stream is the program's. */
async function tellNames(
  configDirectory: string,
  { namespace, name, services, addresses, hostNetwork }: RunRequest,
): Promise<void> {
  const has = hostNetwork ? "shares the node's address" : 'has the address'
  const lines = [`${namespace}/${name} ${has} ${addresses.join(' and ')}`]
  const domain = services.length > 0 ? await clusterDomain(configDirectory) : ''
  for (const service of new Set(services.map((each) => each.name))) {
    const names = [`${service}.${namespace}`, `${service}.${namespace}.svc.${domain}`]
    lines.push(`service ${namespace}/${service} answers to ${service}, ${names.join(' and ')}`)
  }
  process.stderr.write(lines.map((line) => `weft: ${line}\n`).join(''))
}

async function clusterDomain(configDirectory: string): Promise<string> {
  const { world } = await loadDirectory(configDirectory)
  return (world.MeshConfig[0]?.spec ?? DEFAULT_MESH_SETTINGS).clusterDomain
}

async function enrolled(request: WorkloadRequest, launched: Launched): Promise<void> {
  const mark = enrolmentMark(request.stateDirectory, request)
  const inTime = await markAppears(mark, launched.ended, request.enrolTimeoutMs)
  if (inTime || launched.child.exitCode !== null || launched.child.signalCode !== null) return
  throw new MeshError(
    'run.enrol',
    `no agent brought ${request.namespace}/${request.name} into the mesh within ` +
      `${request.enrolTimeoutMs / 1000} s: is \`weft up --config ${request.configDirectory} ` +
      `--node ${request.nodeName}\` running, and its log clean?`,
  )
}

/** Signals go to the program; what comes after it has ended must not stop the clearing away. */
class Interruption {
  #launched: Launched | undefined
  #early: NodeJS.Signals | undefined
  readonly #handler = (signal: NodeJS.Signals): void => {
    if (this.#launched === undefined) this.#early = signal
    else if (signal !== 'SIGINT' || !process.stdin.isTTY) this.#launched.child.kill(signal)
  }

  constructor() {
    for (const signal of SIGNALS) process.on(signal, this.#handler)
  }

  tell(launched: Launched): void {
    this.#launched = launched
    if (this.#early !== undefined) launched.child.kill(this.#early)
  }

  end(): void {
    for (const signal of SIGNALS) process.off(signal, this.#handler)
  }
}
