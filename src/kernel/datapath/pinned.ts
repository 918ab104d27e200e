// Pods that are known by their pins alone: an agent before this one enrolled them. Finds their
// namespaces again, through a process inside or a name on a file system.
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { Log } from '../../base/log.ts'
import { errorText } from '../../base/mesh-error.ts'
import type { Kernel, Namespace } from '../kernel.ts'
import { detachClsact } from './clsact.ts'
import { linkInfoAt } from './links.ts'
import { dropPins, pinsOf } from './load.ts'
import { removeRoutes } from './network.ts'

export interface PinnedPod {
  readonly cookie: bigint
  /** Of its namespace; 0 when that is gone. */
  readonly inode: number
}

/** The pods that have pins below `root`, without those of `known` cookies. */
export function pinnedPods(
  kernel: Kernel,
  root: string,
  known: ReadonlySet<bigint> = new Set(),
): readonly PinnedPod[] {
  const { pods } = pinsOf(root)
  if (!existsSync(pods)) return []
  const cookies = readdirSync(pods).map(BigInt)
  return cookies
    .filter((cookie) => !known.has(cookie))
    .map((cookie) => ({
      cookie,
      inode: linkInfoAt(kernel, join(pods, String(cookie), 'lookup'))?.netnsInode ?? 0,
    }))
}

/** Opens the pod's namespace; undefined when nothing that lives in it or names it is found. */
export async function findNamespace(
  kernel: Kernel,
  pod: PinnedPod,
): Promise<Namespace | undefined> {
  if (pod.inode === 0) return undefined
  for (const path of [...byProcess(pod.inode), ...byName(pod.inode)]) {
    try {
      const namespace = await kernel.openNamespace(path)
      // An inode is given again once its namespace is gone, a cookie never.
      if (namespace.cookie === pod.cookie) return namespace
      namespace.close()
    } catch {
      // The process ended meanwhile; another will do.
    }
  }
  return undefined
}

function byProcess(inode: number): string[] {
  const wanted = `net:[${inode}]`
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => `/proc/${pid}/ns/net`)
    .filter((path) => linkText(path) === wanted)
}

/** Where container runtimes and `ip netns` bind namespaces, as the host sees it. */
function byName(inode: number): string[] {
  return ['self', '1'].flatMap((pid) =>
    fileText(`/proc/${pid}/mountinfo`)
      .split('\n')
      .map((line) => line.split(' '))
      .filter(([, , , root]) => root === `net:[${inode}]`)
      .map(([, , , , place = '']) => join(`/proc/${pid}/root`, unescapeMount(place))),
  )
}

/** mountinfo writes blanks and backslashes as octal numbers. */
function unescapeMount(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  )
}

function linkText(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

function fileText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/**
 * Removes what an agent that no longer runs left in the kernel: its pins, and the routes, rules
 * and settings in its pods' namespaces. Returns in how many namespaces that was.
 */
export async function removePinned(
  parts: { readonly kernel: Kernel; readonly log: Log },
  paths: { readonly pins: string },
): Promise<number> {
  const { kernel, log } = parts
  // Found first: it is their pins that tell which namespaces they are.
  const pods = pinnedPods(kernel, paths.pins)
  const found = await Promise.all(pods.map((pod) => findNamespace(kernel, pod)))
  for (const [at, namespace] of found.entries()) {
    if (namespace !== undefined) await removeFilters(parts, paths.pins, pods[at], namespace)
  }
  dropPins(kernel, paths.pins)
  let cleaned = 0
  for (const [at, namespace] of found.entries()) {
    const cookie = String(pods[at]?.cookie)
    if (namespace === undefined) {
      reportLost(log, pods[at])
      continue
    }
    try {
      await removeRoutes(kernel, namespace)
      cleaned++
    } catch (error) {
      log.warn('datapath.withdraw-step', { cookie, step: 'routes', error: errorText(error) })
    } finally {
      namespace.close()
    }
  }
  return cleaned
}

/** Where the guard was attached by `tc`: no pin holds its filters. */
async function removeFilters(
  { kernel, log }: { readonly kernel: Kernel; readonly log: Log },
  root: string,
  pod: PinnedPod | undefined,
  namespace: Namespace,
): Promise<void> {
  const cookie = String(pod?.cookie)
  try {
    await detachClsact(kernel, join(pinsOf(root).pods, cookie), namespace)
  } catch (error) {
    log.warn('datapath.withdraw-step', { cookie, step: 'filters', error: errorText(error) })
  }
}

/** A namespace that lives on without a process or a name: only a descriptor still holds it. */
export function reportLost(log: Log, pod: PinnedPod | undefined): void {
  if (pod === undefined || pod.inode === 0) return
  log.warn('datapath.namespace-lost', {
    cookie: String(pod.cookie),
    inode: pod.inode,
    effect: 'its routing rule for marked packets, and a guard attached by tc, stay until it ends',
  })
}
