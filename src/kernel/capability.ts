// Which form of the mesh's programs this kernel takes: found once, by trying, because distributions
// carry features back to older versions and build them out of newer ones.
import { type BpfObject, KernelError } from './kernel.ts'

/** The forms in use on this node. */
export interface KernelForms {
  /** How the guard is attached: links that a pod cannot remove (Linux 6.6), or filters of `tc`. */
  readonly guard: 'tcx' | 'clsact'
  /** How connections are ended: by a program (Linux 6.5), or through inet_diag. */
  readonly end: 'sock_destroy' | 'inet_diag'
}

/** What is tried. */
export interface Trials {
  /** An object with a program for devices; closed after the trial. */
  loadGuard(): BpfObject
  /** Throws KernelError where the kernel has no bpf_sock_destroy. */
  loadEnd(): void
}

/** No device has this index: an attempt to attach there tells, and changes nothing. */
const NO_DEVICE = 0x7fff_ffff

/** `forced` is taken as it is, so that the older forms can be tested on a new kernel. Throws what
 * the kernel refuses for another reason than age. */
export async function probeForms(
  trials: Trials,
  forced: Partial<KernelForms> = {},
): Promise<KernelForms> {
  return Object.freeze({
    guard: forced.guard ?? (await probeGuard(trials)),
    end: forced.end === 'inet_diag' ? 'inet_diag' : probeEnd(trials),
  })
}

async function probeGuard(trials: Trials): Promise<KernelForms['guard']> {
  const object = trials.loadGuard()
  try {
    for (const program of object.programs.values()) {
      const link = await program.attachTcx('ingress', NO_DEVICE)
      link.close()
    }
    return 'tcx'
  } catch (error) {
    // A kernel that knows TCX looks for the device first.
    if (error instanceof KernelError && error.errnoName === 'ENODEV') return 'tcx'
    if (error instanceof KernelError && error.errnoName === 'EINVAL') return 'clsact'
    throw error
  } finally {
    object.close()
  }
}

/** Whatever the kernel has against the program, inet_diag does the same work. */
function probeEnd(trials: Trials): KernelForms['end'] {
  try {
    trials.loadEnd()
    return 'sock_destroy'
  } catch (error) {
    if (error instanceof KernelError) return 'inet_diag'
    throw error
  }
}
