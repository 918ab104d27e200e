// Ports that belong to the mesh: a workload never serves there, and nobody may be relayed there.
import { LIMITS } from '../model/limits.ts'

/** Names of the ambient mesh's listeners; Weft's own are elsewhere and unknown to the pod. */
const OUTBOUND_PORT = 15_001
const PLAINTEXT_PORT = 15_006

/** Source: ztunnel's self-call rule, with our virtual capture ports added. */
export function isMeshPort(port: number): boolean {
  if (port === OUTBOUND_PORT || port === PLAINTEXT_PORT || port === LIMITS.hbonePort) return true
  const { capturePortFirst, capturePorts } = LIMITS
  return port >= capturePortFirst && port < capturePortFirst + capturePorts
}
