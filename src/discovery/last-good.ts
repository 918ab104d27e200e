// What is in force while some files are broken: each file's last good content, and nothing new at
// all while a file that may hold restrictions was never good.

import { hasErrors, type Issue } from '../api/issue.ts'
import { fileIssue, type ParsedFile } from '../api/parse-file.ts'
import type { AnyResource } from '../api/resource.ts'
import { type World, worldOf } from '../api/world.ts'

export interface KnownFile {
  /** As it is now. */
  readonly parsed: ParsedFile
  /** The resources in force; undefined when it was never without an error. */
  readonly good: readonly AnyResource[] | undefined
}

/**
 * Kinds that can be left out without anything being allowed, or sent in plaintext, that their
 * author meant to protect. The others say who must be denied (AuthorizationPolicy,
 * PeerAuthentication, MeshConfig) or who is in the mesh at all (Pod, WorkloadEntry, Namespace ...).
 */
const HARMLESS_WHEN_ABSENT: ReadonlySet<string> = new Set([
  'Service',
  'ServiceAccount',
  'EndpointSlice',
  'ServiceEntry',
])

/** The file after it was read again: an error keeps what was good. */
export function nextKnown(before: KnownFile | undefined, parsed: ParsedFile): KnownFile {
  return { parsed, good: hasErrors(parsed.issues) ? before?.good : parsed.resources }
}

export interface Settled {
  /** Undefined: the world that is in force must stay, and if there is none, none may begin. */
  readonly world: World | undefined
  readonly issues: readonly Issue[]
}

/** Files that were never good contribute nothing, or hold everything back. */
export function settle(files: Iterable<KnownFile>): Settled {
  const resources: AnyResource[] = []
  const issues: Issue[] = []
  let held = false
  for (const { parsed, good } of files) {
    issues.push(...parsed.issues)
    if (good !== undefined) resources.push(...good)
    else if (mayRestrict(parsed)) {
      held = true
      issues.push(fileIssue(parsed.file, HELD))
    }
  }
  return { world: held ? undefined : worldOf(resources), issues }
}

const HELD =
  'may say who is protected or denied, and has no earlier content to keep: ' +
  'the configuration stays as it is until this file is correct'

function mayRestrict({ kinds }: ParsedFile): boolean {
  return kinds === undefined || [...kinds].some((kind) => !HARMLESS_WHEN_ABSENT.has(kind))
}
