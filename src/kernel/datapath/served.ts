// Listeners of a pod, of a host-network workload or of the node, as its workers come and go.
import type { PodListener } from '../datapath.ts'
import type { Kernel } from '../kernel.ts'
import { isDns } from './dns-listener.ts'

export interface Served {
  readonly uid: string
  /** Of workers that may be chosen. */
  listeners: PodListener[]
  /** Of workers that died, kept open while others accept what is queued on them. */
  silenced: PodListener[]
}

/** Takes a dead worker's listeners out of the choice. */
export function silence(
  kernel: Kernel,
  served: Served,
  worker: number,
  hide: (gone: readonly PodListener[]) => void,
): void {
  const gone = served.listeners.filter((listener) => listener.worker === worker)
  if (gone.length === 0) return
  hide(gone)
  // An heir may still accept on those of this death, but no more on those of the one before.
  const isEarlier = (listener: PodListener): boolean => listener.worker === worker
  for (const { fd } of served.silenced.filter(isEarlier)) kernel.closeFd(fd)
  served.silenced = [...served.silenced.filter((one) => !isEarlier(one)), ...gone]
  served.listeners = served.listeners.filter((listener) => listener.worker !== worker)
}

/**
 * Opens listeners for a replacement worker, unless it has some. Nobody reads the questions that
 * still arrive at sockets of the one before: closed, they refuse them, and programs ask anew.
 */
export async function revive(
  kernel: Kernel,
  served: Served,
  worker: number,
  open: () => Promise<readonly PodListener[]>,
): Promise<{ uid: string; listeners: readonly PodListener[] }[]> {
  if (served.listeners.some((listener) => listener.worker === worker)) return []
  const unread = served.silenced.filter((one) => one.worker === worker && isDns(one.class))
  for (const { fd } of unread) kernel.closeFd(fd)
  served.silenced = served.silenced.filter((one) => !unread.includes(one))
  const listeners = await open()
  served.listeners.push(...listeners)
  return [{ uid: served.uid, listeners }]
}
