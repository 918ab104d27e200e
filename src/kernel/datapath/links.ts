// Pinned BPF links: made once, taken over by the next agent with its program swapped atomically,
// and dropped when what they were attached to is gone.
import { existsSync, mkdirSync, rmSync, unlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import {
  type BpfLink,
  type BpfProgram,
  type Kernel,
  KernelError,
  type LinkInfo,
} from '../kernel.ts'

export interface LinkTarget {
  /** Whether a link found at the pin is attached to this very target. */
  matches(info: LinkInfo): boolean
  attach(): BpfLink | Promise<BpfLink>
}

/** The link pinned at `path` running `program`: updated if it matches, else made anew. */
export async function linkAt(
  kernel: Kernel,
  path: string,
  program: BpfProgram,
  target: LinkTarget,
): Promise<void> {
  mkdirSync(dirname(path), { recursive: true })
  const found = openLink(kernel, path)
  if (found !== undefined) {
    try {
      if (target.matches(found.info())) {
        found.update(program)
        return
      }
    } finally {
      found.close()
    }
    dropLink(kernel, path)
  }
  const link = await target.attach()
  try {
    link.pin(path)
  } finally {
    link.close()
  }
}

/** Detaches the link and removes its pin; nothing happens if there is none. */
export function dropLink(kernel: Kernel, path: string): void {
  const link = openLink(kernel, path)
  try {
    link?.detach()
  } catch (error) {
    // What it was attached to is gone already; removing the pin frees the link.
    if (!(error instanceof KernelError)) throw error
  } finally {
    link?.close()
    if (existsSync(path)) unlinkSync(path)
  }
}

/** What the pinned link is attached to; undefined when there is none. */
export function linkInfoAt(kernel: Kernel, path: string): LinkInfo | undefined {
  const link = openLink(kernel, path)
  try {
    return link?.info()
  } finally {
    link?.close()
  }
}

/** A pin that is no link is removed; any other failure says nothing about the link and throws. */
function openLink(kernel: Kernel, path: string): BpfLink | undefined {
  if (!existsSync(path)) return undefined
  try {
    return kernel.openPinnedLink(path)
  } catch (error) {
    if (!(error instanceof KernelError && error.errnoName === 'EINVAL')) throw error
    rmSync(path, { force: true })
    return undefined
  }
}
