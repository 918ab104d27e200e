// Loading declared objects: what the kernel and libbpf would check, checked the same way.
import { kernelError } from '../errno.ts'
import {
  type BpfMap,
  type BpfObject,
  type BpfProgram,
  KernelError,
  type MapSpec,
  type ObjectSpec,
  type StructLayout,
} from '../kernel.ts'
import { FakeMap, type MapParts } from './map.ts'
import { MapData } from './map-data.ts'
import { FakeProgram, type FakeProgramSpec, ProgramData, type ProgramParts } from './program.ts'

/** What stands in for an ELF object; found by `ObjectSpec.name`. */
export interface FakeObjectSpec {
  readonly name: string
  readonly maps: readonly MapSpec[]
  readonly programs: readonly FakeProgramSpec[]
  /** Sizes of `const volatile` globals. */
  readonly constants?: Readonly<Record<string, number>>
  readonly layouts?: readonly StructLayout[]
}

export interface ObjectParts extends MapParts, ProgramParts {
  readonly objects: readonly FakeObjectSpec[]
  readonly cpus: number
  addMap(name: string, spec: Omit<MapSpec, 'name'>): MapData
}

const ELF_MAGIC = Buffer.from([0x7f, 0x45, 0x4c, 0x46])

export function isElf(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes.subarray(0, 4), ELF_MAGIC) === 0
}

export function loadFakeObject(parts: ObjectParts, spec: ObjectSpec): BpfObject {
  const declared = parts.objects.find(({ name }) => name === spec.name)
  if (declared === undefined || !isElf(spec.bytes)) {
    throw kernelError(`open object ${spec.name}`, 'EINVAL')
  }
  checkConstants(declared, spec)
  const wanted = choosePrograms(declared, spec)
  checkMapNames(declared, spec)
  const datas = declared.maps.map((map) => findMap(parts, spec, map))
  for (const { name, refused } of wanted) {
    if (refused === undefined) continue
    const { errno } = kernelError('', refused.errno)
    throw new KernelError(`bpf(BPF_PROG_LOAD) ${name}`, errno, refused.errno, refused.log)
  }
  const maps = new Map<string, BpfMap>(
    datas.map((data, at) => [declared.maps[at]?.name ?? data.name, new FakeMap(data, parts)]),
  )
  const programs = new Map<string, BpfProgram>(
    wanted.map((program) => [
      program.name,
      new FakeProgram(new ProgramData(parts.nextId(), program), parts),
    ]),
  )
  return {
    maps,
    programs,
    close() {
      for (const map of maps.values()) map.close()
      for (const program of programs.values()) program.close()
    },
  }
}

function checkConstants(declared: FakeObjectSpec, spec: ObjectSpec): void {
  for (const [symbol, value] of Object.entries(spec.constants ?? {})) {
    const size = declared.constants?.[symbol]
    if (size === undefined) throw kernelError(`set constant ${symbol}`, 'ENOENT')
    if (size === value.length) continue
    throw kernelError(`set constant ${symbol} of ${size} bytes to ${value.length}`, 'EINVAL')
  }
}

function choosePrograms(declared: FakeObjectSpec, spec: ObjectSpec): readonly FakeProgramSpec[] {
  if (spec.programs === undefined) return declared.programs
  for (const name of spec.programs) {
    if (declared.programs.some((program) => program.name === name)) continue
    throw kernelError(`load program ${name}`, 'ENOENT')
  }
  return declared.programs.filter(({ name }) => spec.programs?.includes(name))
}

function checkMapNames(declared: FakeObjectSpec, spec: ObjectSpec): void {
  for (const option of ['maxEntries', 'pins', 'reuse'] as const) {
    for (const name of Object.keys(spec[option] ?? {})) {
      if (declared.maps.some((map) => map.name === name)) continue
      throw kernelError(`${option} of map ${name}`, 'ENOENT')
    }
  }
}

function findMap(parts: ObjectParts, spec: ObjectSpec, declared: MapSpec): MapData {
  const { name } = declared
  const shape = { ...declared, maxEntries: spec.maxEntries?.[name] ?? declared.maxEntries }
  const reused = spec.reuse?.[name]
  if (reused !== undefined) {
    const data = parts.fds.get(`reuse map ${name}`, reused.fd) as MapData
    if (sameShape(data, shape, false)) return data
    throw kernelError(`reuse map ${name}: type or sizes differ`, 'EINVAL')
  }
  const path = spec.pins?.[name]
  const pinned = path === undefined ? undefined : parts.pins.find(path, 'map')
  if (pinned instanceof MapData) {
    if (sameShape(pinned, shape, true)) return pinned
    throw kernelError(`load object ${spec.name}`, 'EINVAL')
  }
  const made = parts.addMap(name, shape)
  if (path !== undefined) parts.pins.add(path, made)
  return made
}

function sameShape({ spec }: MapData, shape: MapSpec, exactly: boolean): boolean {
  if (spec.type !== shape.type || spec.keySize !== shape.keySize) return false
  if (spec.valueSize !== shape.valueSize) return false
  if (!exactly) return true
  return spec.maxEntries === shape.maxEntries && (spec.flags ?? 0) === (shape.flags ?? 0)
}
