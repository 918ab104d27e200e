// Whether a workload would fit into the mesh's configuration, asked before it is written there: an
// error would keep every agent at what it had.
import { stringify } from 'yaml'
import { parseFile } from '../../api/parse-file.ts'
import { formatIssue } from '../../api/print-issue.ts'
import { worldOf } from '../../api/world.ts'
import { MeshError } from '../../base/mesh-error.ts'
import { compileWorld } from '../../compile/registry.ts'
import { loadDirectory } from '../../discovery/file-source.ts'
import { hostResource, type RunRequest } from './registration.ts'

/** As issues name the place of what is not written yet. */
const FILE = 'this run'

/** Throws MeshError `run.conflict`. Errors that are there already are not this run's. */
export async function requireNoConflict(
  configDirectory: string,
  request: RunRequest,
): Promise<void> {
  const served = request.services.filter(({ protocol }) => protocol !== 'udp')
  const ports = Object.fromEntries(
    served.map(({ targetPort }) => [`port-${targetPort}`, targetPort]),
  )
  const entry = parseFile(FILE, stringify(hostResource(request, ports)))
  const { world } = await loadDirectory(configDirectory)
  const known = Object.values(world).flat()
  const before = errorsOf(compileWorld(world).issues)
  const after = compileWorld(worldOf([...known, ...entry.resources])).issues
  const added = errorsOf([...entry.issues, ...after]).filter((text) => !before.includes(text))
  if (added.length === 0) return
  throw new MeshError('run.conflict', `this workload does not fit: ${added.join('; ')}`)
}

function errorsOf(issues: readonly Parameters<typeof formatIssue>[0][]): readonly string[] {
  return issues.filter(({ severity }) => severity === 'error').map(formatIssue)
}
