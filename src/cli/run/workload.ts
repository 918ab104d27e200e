// The life of a workload under `weft run`: made, brought into the mesh, run, and taken away again,
// also when it is interrupted.
import { join } from 'node:path'
import { markName } from '../../agent/enrolment-marks.ts'
import { MeshError } from '../../base/mesh-error.ts'
import { claimAddress, type Pool } from './address-pool.ts'
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
import { register, type ServiceRequest } from './registration.ts'

export interface WorkloadRequest {
  readonly configDirectory: string
  readonly stateDirectory: string
  readonly workloadsCgroup: string
  readonly nodeName: string
  readonly namespace: string
  readonly name: string
  readonly serviceAccount: string
  readonly labels: Readonly<Record<string, string>>
  readonly services: readonly ServiceRequest[]
  readonly pools: readonly Pool[]
  readonly netns: string | undefined
  readonly enrolTimeoutMs: number
  readonly command: readonly string[]
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Resolves with the program's exit code when nothing of the workload is left. */
export async function runWorkload(request: WorkloadRequest): Promise<number> {
  const state = request.stateDirectory
  await collectDeadRuns(state)
  const interruption = new Interruption()
  let record = firstRecord(request)
  claimRecord(state, record)
  try {
    const addresses = request.pools.map((pool) => ({
      pool,
      address: claimAddress(pool, record.name, addressDirectory(state), process.pid),
    }))
    record = { ...record, addresses: addresses.map(({ address }) => address) }
    updateRecord(state, record)
    ensureBridge(request.pools)
    makeNetwork(record.network, addresses)
    const cgroup = markName(request.namespace, request.name)
    const services = register(request.configDirectory, {
      ...request,
      addresses: record.addresses,
      cgroup,
    })
    tellAddresses(request, record, services)
    const launched = launch(record.network.namespace, record.cgroup, request.command)
    interruption.tell(launched)
    await enrolled(request, launched)
    launched.open()
    return await launched.ended
  } finally {
    await undoRun(state, record)
    interruption.end()
  }
}

function firstRecord(request: WorkloadRequest): RunRecord {
  const { namespace, name, nodeName, configDirectory } = request
  return {
    pid: process.pid,
    namespace,
    name,
    nodeName,
    configDirectory,
    cgroup: join(request.workloadsCgroup, markName(namespace, name)),
    network: podNetwork(nodeName, namespace, name, request.netns),
    addresses: [],
    services: [...new Set(request.services.map((service) => service.name))],
  }
}

/** There are no names to call yet. On standard error: the other stream is the program's. */
function tellAddresses(
  { namespace, name, services }: WorkloadRequest,
  { addresses }: RunRecord,
  virtual: ReadonlyMap<string, string>,
): void {
  const lines = [`${namespace}/${name} has the address ${addresses.join(' and ')}`]
  for (const service of services) {
    const address = virtual.get(service.name)
    lines.push(`service ${namespace}/${service.name} is at ${address} port ${service.port}`)
  }
  process.stderr.write(lines.map((line) => `weft: ${line}\n`).join(''))
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
