// The BPF half of the Kernel port over the addon.
import { checkMapSpec, checkNamespace, checkPath } from '../checks.ts'
import { attempt, settled } from '../errno.ts'
import type { BpfMap, BpfObject, BpfProgram, Kernel, ObjectSpec } from '../kernel.ts'
import type { Addon } from './addon.ts'
import { mapShape, NativeMap } from './map.ts'
import { NativeLink, NativeProgram } from './program.ts'

type BpfHalf = Pick<
  Kernel,
  | 'loadObject'
  | 'createMap'
  | 'openPinnedMap'
  | 'openMapById'
  | 'openPinnedLink'
  | 'openPinnedProgram'
  | 'structLayout'
  | 'readRing'
  | 'readIter'
>

export function nativeBpf(addon: Addon): BpfHalf {
  return {
    loadObject: (spec) => loadObject(addon, spec),
    createMap(spec) {
      checkMapSpec(spec, spec.name)
      const inner = spec.inner === undefined ? [] : mapShape(spec.inner, spec.name)
      const shapes = [...mapShape(spec, spec.name), ...inner]
      return new NativeMap(
        addon,
        attempt(() => addon.createMap(spec.name, ...shapes)),
      )
    },
    openPinnedMap(path) {
      checkPath('open pinned map', path)
      return new NativeMap(
        addon,
        attempt(() => addon.openPinnedMap(path)),
      )
    },
    openMapById: (id) =>
      new NativeMap(
        addon,
        attempt(() => addon.openMapById(id)),
      ),
    openPinnedLink(path) {
      checkPath('open pinned link', path)
      return new NativeLink(
        addon,
        attempt(() => addon.openPinnedLink(path)),
      )
    },
    openPinnedProgram(path) {
      checkPath('open pinned program', path)
      return new NativeProgram(
        addon,
        attempt(() => addon.openPinnedProgram(path)),
      )
    },
    structLayout: (bytes, name) => attempt(() => addon.structLayout(bytes, name)),
    readRing(map, onRecord) {
      const onBatch = (records: readonly Buffer[]): void => {
        for (const record of records) onRecord(record)
      }
      const id = attempt(() => addon.ringStart(map.fd, onBatch), map.name)
      return { stop: () => addon.ringStop(id) }
    },
    readIter: (link, namespaceFd) =>
      settled((done) => {
        addon.readIter(link.fd, checkNamespace(namespaceFd), done)
      }),
  }
}

function loadObject(addon: Addon, spec: ObjectSpec): BpfObject {
  const raw = attempt(() =>
    addon.loadObject(
      spec.bytes,
      spec.name,
      Object.entries(spec.constants ?? {}),
      Object.entries(spec.pins ?? {}).map(([name, path]) => [
        name,
        checkPath(`pin map ${name}`, path),
      ]),
      Object.entries(spec.reuse ?? {}).map(([name, map]) => [name, map.fd]),
      Object.entries(spec.maxEntries ?? {}),
      spec.programs,
    ),
  )
  const maps = new Map<string, BpfMap>(raw.maps.map((map) => [map.name, new NativeMap(addon, map)]))
  const programs = new Map<string, BpfProgram>(
    raw.programs.map((program) => [program.name, new NativeProgram(addon, program)]),
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
