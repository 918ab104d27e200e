// Which ports of a workload the kernel may connect to without a proxy, as far as their
// declarations go; policy and place are judged by `wantedMaps`.
import type { Service } from '../model/service.ts'
import type { WorkloadDraft } from './workload-draft.ts'

/**
 * A port is a candidate when every service port that leads to it is declared TCP or UDP, or belongs
 * to an annotated service; an annotation on the workload itself declares all its ports.
 */
export function directPortsOf(
  draft: WorkloadDraft,
  services: ReadonlyMap<string, Service>,
): readonly number[] {
  const candidates = new Map<number, boolean>()
  if (draft.annotatedDirect) for (const { port } of draft.ports) candidates.set(port, true)
  for (const [key, pairs] of draft.services) {
    const service = services.get(key)
    for (const { servicePort, targetPort } of pairs) {
      const ports = service?.ports.filter(({ port }) => port === servicePort) ?? []
      const declared =
        ports.length > 0 && ports.every(({ protocol }) => protocol === 'tcp' || protocol === 'udp')
      const eligible = draft.annotatedDirect || service?.annotatedDirect === true || declared
      candidates.set(targetPort, eligible && (candidates.get(targetPort) ?? true))
    }
  }
  return [...candidates]
    .filter(([, eligible]) => eligible)
    .map(([port]) => port)
    .sort((a, b) => a - b)
}
