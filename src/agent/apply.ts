// Puts a new version of the configuration in force, in the order that never lets a forbidden
// connection through: denials to BPF, then workers, then permissions to BPF, then every live
// connection is judged again, twice, so that a connect between the two is caught.
import type { Log } from '../base/log.ts'
import { diffTables, toPatches } from '../compile/diff.ts'
import { tablesFor } from '../compile/tables.ts'
import { wantedMaps } from '../compile/wanted-maps.ts'
import type { Datapath, DirectConnection } from '../kernel/datapath.ts'
import type { ConnectionFacts } from '../model/facts.ts'
import type { Registry, Rules } from '../model/registry.ts'
import type { Tables, TablesPatch } from '../model/tables.ts'
import { identityOf } from '../model/workload.ts'
import { authorize, compilePolicies } from '../policy/authorize.ts'
import { acceptTransport } from '../policy/peer-mode.ts'
import { Probes } from './probes.ts'

export interface ApplyParts {
  readonly datapath: Datapath
  readonly log: Log
  /** Resolves when every worker holds the version. */
  readonly toWorkers: (patches: readonly TablesPatch[], version: number) => Promise<void>
  /** Judges the workers' live connections; resolves with how many ended. */
  readonly recheckWorkers: () => Promise<void>
}

export interface ApplyOptions {
  readonly nodeName: string
  readonly workers: number
  /** Where cgroup v2 is mounted. */
  readonly cgroup2: string
}

export class Applier {
  readonly #parts: ApplyParts
  readonly #options: ApplyOptions
  readonly #probes: Probes
  #tables: Tables | undefined

  constructor(parts: ApplyParts, options: ApplyOptions) {
    this.#parts = parts
    this.#options = options
    this.#probes = new Probes(parts, options)
  }

  /** The version in force. */
  get tables(): Tables | undefined {
    return this.#tables
  }

  /** Everything in force, as patches for a worker that knows nothing. */
  fullPatches(): readonly TablesPatch[] {
    const tables = this.#tables
    if (tables === undefined) return []
    return toPatches(diffTables(undefined, tables), tables.version, tables.mesh)
  }

  async apply(registry: Registry, rules: Rules): Promise<Tables> {
    const before = this.#tables
    const tables = tablesFor(registry, rules, (before?.version ?? 0) + 1, before)
    const wanted = wantedMaps(tables, this.#options.nodeName)
    const { datapath } = this.#parts
    if (before !== undefined) datapath.applyDenials(wanted)
    await this.#probes.restrict(tables.mesh)
    // Restrictions now, permissions when the workers know.
    const { unknown, directPath, dns } = tables.mesh
    const settings = {
      workers: this.#options.workers,
      unknown,
      directPath: directPath === 'node',
      dns: dns === 'capture',
    }
    const isFirst = before === undefined
    datapath.configure({
      ...settings,
      unknown: isFirst || before.mesh.unknown === 'pass' ? unknown : 'refuse',
    })
    const patches = toPatches(diffTables(before, tables), tables.version, tables.mesh)
    this.#tables = tables
    await this.#parts.toWorkers(patches, tables.version)
    datapath.configure(settings)
    datapath.applyGeneration(wanted)
    await this.#probes.allow(tables.mesh)
    for (let pass = 0; pass < 2; pass++) {
      await this.#parts.recheckWorkers()
      await this.recheckDirect()
    }
    return tables
  }

  /** Ends what the tables in force no longer allow. Also after workloads have entered: an agent
   * before this one may have let connections of theirs be. */
  async recheckDirect(): Promise<void> {
    const { datapath } = this.#parts
    const tables = this.#tables
    if (tables === undefined) return
    const live = await datapath.liveDirect()
    const forbidden = live.filter((connection) => !directAllowed(tables, connection))
    if (forbidden.length === 0) return
    const ended = await datapath.endDirect(forbidden, 'policy-changed')
    this.#parts.log.info('recheck.direct-ended', { ended, version: tables.version })
  }
}

/** Whether a live direct connection may go on under `tables`. Unknown means no. */
export function directAllowed(tables: Tables, connection: DirectConnection): boolean {
  const source = tables.workloads.get(connection.sourceUid)
  const destination = tables.workloads.get(connection.destinationUid)
  if (source === undefined || destination === undefined) return false
  if (tables.mesh.directPath === 'off') return false
  const facts: ConnectionFacts = {
    peer: { kind: 'verified', id: identityOf(source), by: 'kernel' },
    sourceIp: connection.source.ip,
    destinationIp: connection.destination.ip,
    destinationPort: connection.destination.port,
  }
  if (acceptTransport(destination.peer, facts.destinationPort, facts.peer).kind !== 'allow') {
    return false
  }
  const policies = destination.policies.flatMap((key) => tables.policies.get(key) ?? [])
  return authorize(compilePolicies(policies), facts).kind === 'allow'
}
