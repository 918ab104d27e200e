// For tests: resources as users write them, and what they compile to.
import { stringify } from 'yaml'
import { parseFile } from '../../api/parse-file.ts'
import { formatIssue } from '../../api/print-issue.ts'
import { worldOf } from '../../api/world.ts'
import { compileWorld } from '../registry.ts'

export interface Metadata {
  readonly name?: string
  readonly namespace?: string
  readonly labels?: object
  readonly annotations?: object
}

export const resource = (apiVersion: string, kind: string, metadata: Metadata, fields: object) => ({
  apiVersion,
  kind,
  metadata: { name: 'x', namespace: 'shop', ...metadata },
  ...fields,
})
export const pod = (
  name: string,
  ip: string,
  more: Metadata & { spec?: object; status?: object } = {},
) => {
  const { spec = {}, status = {}, ...metadata } = more
  return resource('v1', 'Pod', { name, ...metadata }, { spec, status: { podIP: ip, ...status } })
}
export const service = (name: string, spec: object, metadata: Metadata = {}) =>
  resource('v1', 'Service', { name, ...metadata }, { spec })
export const istio = (kind: string, name: string, spec: object, metadata: Metadata = {}) =>
  resource('networking.istio.io/v1', kind, { name, ...metadata }, { spec })

/** Writes, parses and compiles; each argument is a file. Throws when one cannot be parsed. */
export function compile(...files: readonly object[][]) {
  const parsed = files.map((objects, at) =>
    parseFile(`${at}.yaml`, objects.map((object) => stringify(object)).join('---\n')),
  )
  const broken = parsed.flatMap(({ issues }) => issues.filter((i) => i.severity === 'error'))
  if (broken.length > 0) throw new Error(broken.map(formatIssue).join('\n'))
  const world = worldOf(parsed.flatMap(({ resources }) => resources))
  const compiled = compileWorld(world)
  const workload = (name: string) =>
    [...compiled.registry.workloads.values()].find((candidate) => candidate.name === name)
  return { ...compiled, world, workload, issues: compiled.issues.map(formatIssue) }
}
