// Loads the BPF objects on maps that outlive the agent, and attaches them to the two cgroups.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import type { Log } from '../../base/log.ts'
import { errorText, MeshError } from '../../base/mesh-error.ts'
import { ABI_VERSION } from '../abi.ts'
import { type KernelForms, probeForms } from '../capability.ts'
import type { DatapathPaths } from '../datapath.ts'
import {
  type BpfMap,
  type BpfObject,
  type BpfProgram,
  type Kernel,
  KernelError,
} from '../kernel.ts'
import { cgroupId } from './cgroup.ts'
import { dropLink, linkAt } from './links.ts'

const BPF_FS_MAGIC = 0xcafe4a11

const BASE = ['weft_config', 'weft_counters']
const SOCKETS = [...BASE, 'weft_socks', 'weft_attest']
const PODS = ['weft_pods', 'weft_enrolled']
const HOSTS = ['weft_hosts', 'weft_host_ports', 'weft_addresses']
const DATAGRAMS = ['weft_datagrams', 'weft_asked']
const CAPTURE = ['weft_choices', 'weft_workers', 'weft_listener']

/** The maps of each object; all are shared by their names. */
export const MAPS = {
  connect: [
    ...SOCKETS,
    ...PODS,
    ...HOSTS,
    ...DATAGRAMS,
    'weft_listeners',
    'weft_events',
    'weft_generation',
  ],
  track: [
    ...SOCKETS,
    ...CAPTURE,
    ...PODS,
    ...HOSTS,
    'weft_events',
    'weft_listening',
    'weft_sock_origin',
    'weft_origins',
  ],
  origdst: [...BASE, 'weft_sock_origin'],
  lookup: [...SOCKETS, ...CAPTURE, ...HOSTS, 'weft_origins', 'weft_listeners', 'weft_costs'],
  guard: [...SOCKETS, ...CAPTURE],
  admit: [...SOCKETS, ...HOSTS],
  sweep: [...SOCKETS, ...HOSTS, 'weft_listening', 'weft_tagging', 'weft_kill'],
  end: [...SOCKETS, 'weft_kill'],
} as const satisfies Record<string, readonly string[]>

export type Family = keyof typeof MAPS

/** Pinned objects of one agent. */
export interface Pins {
  readonly maps: string
  readonly links: string
  /** A directory for each cgroup above host-network workloads, and one for the node. */
  readonly hosts: string
  readonly pods: string
}

export function pinsOf(root: string): Pins {
  const links = join(root, 'links')
  return { maps: join(root, 'maps'), links, hosts: join(links, 'hosts'), pods: join(root, 'pods') }
}

/** Programs by cgroup, in the order of attachment: what refuses comes when the rest is ready. */
const ATTACHED = {
  agent: [
    ['track', 'weft_track_agent'],
    ['origdst', 'weft_origdst'],
  ],
  workloads: [
    ['track', 'weft_track_workload'],
    ['connect', 'weft_getpeername4'],
    ['connect', 'weft_getpeername6'],
    ['connect', 'weft_recvmsg4'],
    ['connect', 'weft_recvmsg6'],
    ['connect', 'weft_sendmsg4'],
    ['connect', 'weft_sendmsg6'],
    ['connect', 'weft_connect4'],
    ['connect', 'weft_connect6'],
  ],
} as const satisfies Record<string, readonly (readonly [Family, string])[]>

/** Programs of the cgroups above host-network workloads, likewise. */
export const ABOVE_HOSTS = [...ATTACHED.workloads, ['admit', 'weft_admit']] as const

export class Programs {
  readonly #kernel: Kernel
  readonly #log: Log
  readonly #objects: string
  readonly #pins: Pins
  readonly #root: string
  readonly #forced: Partial<KernelForms> | undefined
  #forms: KernelForms | undefined
  readonly #loaded = new Map<Family, BpfObject>()

  constructor(
    parts: { readonly kernel: Kernel; readonly log: Log; readonly forms?: Partial<KernelForms> },
    options: { readonly pins: string; readonly objects: string },
  ) {
    this.#kernel = parts.kernel
    this.#log = parts.log
    this.#forced = parts.forms
    this.#root = options.pins
    this.#objects = options.objects
    this.#pins = pinsOf(options.pins)
  }

  /** Loads every object but the per-pod guard, and finds out which forms this kernel takes. Pins of
   * another layout are replaced. */
  async load(): Promise<void> {
    requireBpfFs(this.#root)
    if (this.#foundAbi() !== ABI_VERSION) this.#replacePins('made by another version of weft')
    try {
      this.#loadAll()
    } catch (error) {
      const isShape = error instanceof KernelError && error.errnoName === 'EINVAL'
      if (!isShape || !existsSync(this.#pins.maps)) throw error
      this.#close()
      this.#replacePins(errorText(error))
      this.#loadAll()
    }
    this.#forms = await probeForms(this, this.#forced)
    this.#log.info('kernel.forms', { ...this.#forms })
  }

  /** Throws MeshError `datapath.state` before `load`. */
  get forms(): KernelForms {
    if (this.#forms === undefined) throw new MeshError('datapath.state', 'start() must come first')
    return this.#forms
  }

  map(name: (typeof MAPS)[Family][number]): BpfMap {
    for (const object of this.#loaded.values()) {
      const map = object.maps.get(name)
      if (map !== undefined) return map
    }
    throw new MeshError('datapath.load', `no loaded object has the map ${name}`)
  }

  program(family: Family, name: string): BpfProgram {
    const program = this.#loaded.get(family)?.programs.get(name)
    if (program === undefined) {
      throw new MeshError('datapath.load', `bpf/out/${family}.o has no program ${name}`)
    }
    return program
  }

  /** Throws KernelError on kernels without bpf_sock_destroy. */
  loadEnd(): void {
    this.#loaded.set('end', this.#loadObject('end'))
  }

  /** The guard of one pod, with its constants; the caller closes it. */
  loadGuard(constants: Readonly<Record<string, Uint8Array>> = {}): BpfObject {
    return this.#loadObject('guard', constants)
  }

  async attach(paths: DatapathPaths): Promise<void> {
    const cgroups = { agent: paths.agentCgroup, workloads: paths.workloadsCgroup }
    for (const [role, programs] of Object.entries(ATTACHED)) {
      const path = cgroups[role as keyof typeof cgroups]
      const id = cgroupId(path)
      for (const [family, name] of programs) {
        const program = this.program(family, name)
        await linkAt(this.#kernel, join(this.#pins.links, name), program, {
          matches: (info) => info.cgroupId === id,
          attach: () => program.attachCgroup(path),
        })
      }
    }
  }

  /** Detaches everything and removes every pin. */
  remove(): void {
    dropPins(this.#kernel, this.#root)
    this.#close()
  }

  close(): void {
    this.#close()
  }

  #loadAll(): void {
    mkdirSync(this.#pins.maps, { recursive: true })
    for (const family of ['connect', 'track', 'origdst', 'lookup', 'sweep', 'admit'] as const) {
      this.#loaded.set(family, this.#loadObject(family))
    }
  }

  #loadObject(family: Family, constants: Readonly<Record<string, Uint8Array>> = {}): BpfObject {
    const pins = MAPS[family].map((name) => [name, join(this.#pins.maps, name)])
    const object = this.#kernel.loadObject({
      bytes: readObject(join(this.#objects, `${family}.o`)),
      name: family,
      constants,
      pins: Object.fromEntries(pins),
    })
    const declared: readonly string[] = MAPS[family]
    const undeclared = [...object.maps.keys()].filter(
      (name) => name.startsWith('weft_') && !declared.includes(name),
    )
    if (undeclared.length === 0) return object
    object.close()
    // A copy of its own would be empty for ever, and nothing would say so.
    throw new MeshError(
      'datapath.load',
      `${family}.o has undeclared maps: ${undeclared.join(', ')}`,
    )
  }

  #foundAbi(): number {
    const path = join(this.#pins.maps, 'weft_config')
    if (!existsSync(path)) return ABI_VERSION
    try {
      const config = this.#kernel.openPinnedMap(path)
      const found = config.lookup(Buffer.alloc(4))?.readUInt32LE(0) ?? 0
      config.close()
      // Made but never written: an agent that died at its first start.
      return found === 0 ? ABI_VERSION : found
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      return -1
    }
  }

  #replacePins(why: string): void {
    this.#log.warn('datapath.pins-replaced', {
      pins: this.#root,
      why,
      effect: 'the kernel forgets enrolled workloads until they are enrolled again',
    })
    dropPins(this.#kernel, this.#root)
  }

  #close(): void {
    for (const object of this.#loaded.values()) object.close()
    this.#loaded.clear()
  }
}

/** Detaches every link that is pinned below `root`, and removes all pins. */
export function dropPins(kernel: Kernel, root: string): void {
  const { links, hosts, pods } = pinsOf(root)
  // What captures goes last: until then programs are refused rather than let past the mesh.
  const single = list(links).filter((path) => path !== hosts)
  const pinned = [...inside(pods), ...single, ...inside(hosts)]
  for (const path of pinned) dropLink(kernel, path)
  rmSync(root, { recursive: true, force: true })
}

/** The pins in the directories of a directory. */
const inside = (directory: string): string[] => list(directory).flatMap((path) => list(path))

const list = (directory: string): string[] =>
  existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : []

function readObject(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new MeshError('datapath.load', `${path} is missing: run "npm run bpf:build"`, {
      cause: error,
    })
  }
}

function requireBpfFs(root: string): void {
  mkdirSync(root, { recursive: true })
  if (statfsSync(root).type === BPF_FS_MAGIC) return
  rmSync(root, { recursive: true })
  throw new MeshError(
    'datapath.pins',
    `${root} is not on a BPF file system: run "mount -t bpf bpf /sys/fs/bpf"`,
  )
}
