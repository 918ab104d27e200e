// The kernel port for tests of this room. Its sockets are real: streams adopt descriptors, which
// the in-memory fake cannot give. Nothing here needs root.
import type { Kernel } from '../../kernel/kernel.ts'
import { nativeKernel } from '../../kernel/native.ts'

export function testKernel(): Kernel {
  return nativeKernel()
}
