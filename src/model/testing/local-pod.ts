// A workload of this node as main tells workers of it, for tests.
import type { LocalPod } from '../messages.ts'

export function localPod(some: Partial<LocalPod> = {}): LocalPod {
  return {
    uid: 'pod',
    namespaceFd: -1,
    netnsCookie: 1n,
    addresses: [],
    number: 1,
    hostNetwork: false,
    ...some,
  }
}
