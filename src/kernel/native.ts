// The Kernel port over the C++ addon: the door to Linux for the agent and its workers.
import type { Kernel } from './kernel.ts'
import { loadAddon } from './native/addon.ts'
import { nativeBpf } from './native/bpf.ts'
import { nativeSockets } from './native/sockets.ts'
import { nativeUnix } from './native/unix.ts'

/**
 * Each thread calls it for itself: callbacks run on the caller's loop, and what a thread opened is
 * closed with it. Throws MeshError `kernel.addon` when the addon cannot be loaded.
 */
export function nativeKernel(): Kernel {
  const addon = loadAddon()
  return { ...nativeBpf(addon), ...nativeSockets(addon), ...nativeUnix(addon) }
}
