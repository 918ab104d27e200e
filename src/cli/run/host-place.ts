// Where `weft run --host-network` puts a program: a cgroup of its own below the hosts' slice, and
// an address of this node under which others reach it.
import { createSocket } from 'node:dgram'
import { join, relative } from 'node:path'
import { markName } from '../../agent/enrolment-marks.ts'
import { CGROUP_PATH_WORDS, isCgroupPath } from '../../api/checks.ts'
import { canonicalIp } from '../../base/ip.ts'
import { MeshError } from '../../base/mesh-error.ts'
import { nodeAddresses } from '../../discovery/node-addresses.ts'
import type { HostPlace } from './workload.ts'

export interface HostPlaceRequest {
  readonly namespace: string
  readonly name: string
  /** Default: that of the default route. */
  readonly address: string | undefined
  /** Absolute; where cgroups of host-network runs are made. */
  readonly slice: string
  /** Where cgroup v2 is mounted. */
  readonly cgroup2: string
}

/** Throws MeshError `run.cgroup` or `run.address`. */
export async function hostPlace(request: HostPlaceRequest): Promise<HostPlace> {
  const { cgroup2, slice } = request
  const cgroup = join(slice, markName(request.namespace, request.name))
  const cgroupBelowRoot = relative(cgroup2, cgroup)
  if (!isCgroupPath(cgroupBelowRoot)) {
    throw new MeshError(
      'run.cgroup',
      `${cgroup} cannot be the cgroup of a workload, expected ${CGROUP_PATH_WORDS}: give a ` +
        `--host-slice below ${cgroup2}, and shorter names`,
    )
  }
  return { kind: 'host', cgroup, cgroupBelowRoot, address: await addressOf(request.address) }
}

async function addressOf(written: string | undefined): Promise<string> {
  if (written === undefined) return defaultAddress()
  const address = canonicalIp(written)
  const known = nodeAddresses()
  if (address !== undefined && known.includes(address)) return address
  throw new MeshError(
    'run.address',
    `--address ${written} is no address of this node: give one of ${known.join(', ') || 'none'}`,
  )
}

/** Documentation's addresses: nobody has them, so that the default route leads there. */
const AFAR = [
  ['udp4', '192.0.2.1'],
  ['udp6', '2001:db8::1'],
] as const

/** The address this node would send from. Nothing is sent. */
async function defaultAddress(): Promise<string> {
  for (const [type, afar] of AFAR) {
    const address = await sourceTowards(type, afar)
    if (address !== undefined) return address
  }
  throw new MeshError(
    'run.address',
    'this node has no default route that would tell its address: give --address',
  )
}

function sourceTowards(type: 'udp4' | 'udp6', afar: string): Promise<string | undefined> {
  const socket = createSocket(type)
  return new Promise((resolve) => {
    const end = (address?: string): void => {
      socket.close()
      resolve(address)
    }
    socket.once('error', () => end())
    socket.connect(9, afar, () => end(canonicalIp(socket.address().address)))
  })
}
