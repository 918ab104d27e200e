// The kernel port for tests of this room. Its sockets are real: streams adopt descriptors, which
// the in-memory fake cannot give. They are made in the namespace of the test, so nothing here needs
// root; what namespaces do is tested in the lab.
import type { Kernel } from '../../kernel/kernel.ts'
import { nativeKernel } from '../../kernel/native.ts'

export function testKernel(): Kernel {
  const kernel = nativeKernel()
  return {
    ...kernel,
    connect: (spec) => kernel.connect(spec),
    bindUdp: (spec) => kernel.bindUdp(spec),
  }
}
