// MeshConfig (weft.dev/v1): the settings of the whole mesh. One at most.
import { DEFAULT_MESH_SETTINGS, type MeshSettings } from '../../model/mesh-settings.ts'
import { parseDuration } from '../checks.ts'
import {
  type KindDefinition,
  listOf,
  must,
  object,
  oneOf,
  type RawObject,
  TEXT,
} from '../schema.ts'

const DURATIONS = [
  'enrolGraceMs',
  'idleTimeoutMs',
  'connectTimeoutMs',
  'drainTimeoutMs',
  'certificateTtlMs',
] as const

const POLICIES = ['allow-any', 'registry-only', 'ALLOW_ANY', 'REGISTRY_ONLY'] as const

/** A kubelet and a container runtime, and room for others; the kernel's map has more. */
const PROBE_CGROUPS_MAX = 32

const SPEC = object({
  trustDomain: must('trustDomain'),
  rootNamespace: must('dnsName'),
  // Either Weft's word or Istio's form, `{ mode: REGISTRY_ONLY }`.
  outboundTrafficPolicy: {
    if: { type: 'object' },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: object({ mode: oneOf('ALLOW_ANY', 'REGISTRY_ONLY') }, ['mode']),
    else: oneOf(...POLICIES),
  },
  directPath: oneOf('node', 'off'),
  unknown: oneOf('refuse', 'pass'),
  clusterDomain: must('dnsName'),
  clusterId: must('nonEmpty'),
  network: TEXT,
  dns: oneOf('capture', 'off'),
  probeCgroups: listOf(must('cgroupPath'), { maxItems: PROBE_CGROUPS_MAX }),
  ...Object.fromEntries(DURATIONS.map((name) => [name, must('duration')])),
})

export const MESH_CONFIG: KindDefinition<'MeshConfig', MeshSettings> = {
  kind: 'MeshConfig',
  group: 'weft.dev',
  versions: ['v1'],
  scope: 'cluster',
  fields: { spec: SPEC, status: true },
  required: ['spec'],
  unknownFields: 'warning',
  nullMeansAbsent: false,
  parse(object, _metadata, report) {
    const spec = object.spec as RawObject
    const settings: Record<string, unknown> = { ...DEFAULT_MESH_SETTINGS }
    for (const name of Object.keys(DEFAULT_MESH_SETTINGS)) {
      if (spec[name] !== undefined) settings[name] = spec[name]
    }
    for (const name of DURATIONS) settings[name] = parseDuration(settings[name])
    settings.outboundTrafficPolicy = policyOf(settings.outboundTrafficPolicy)
    for (const name of ['certificateTtlMs', 'connectTimeoutMs', 'idleTimeoutMs'] as const) {
      const least = name === 'certificateTtlMs' ? 60_000 : 1
      if (Number(settings[name]) >= least) continue
      const words = least === 1 ? '1ms' : '1m'
      report('error', ['spec', name], `expected ${words} or longer, found ${spec[name]}`)
    }
    return settings as unknown as MeshSettings
  },
}

function policyOf(written: unknown): MeshSettings['outboundTrafficPolicy'] {
  const word = typeof written === 'object' ? (written as { mode: string }).mode : written
  return word === 'registry-only' || word === 'REGISTRY_ONLY' ? 'registry-only' : 'allow-any'
}
