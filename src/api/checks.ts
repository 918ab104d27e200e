// Checks of single values that schemas name with `must`: whether a value is right, and in words
// what would be.
import { parseCidr } from '../base/cidr.ts'
import { parseIp } from '../base/ip.ts'
import { LIMITS } from '../model/limits.ts'

export interface Check {
  test(value: unknown): boolean
  /** Completes "expected ...". */
  readonly expected: string
}

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

const isText = (value: unknown): value is string => typeof value === 'string'
const isInteger = (value: unknown, low: number, high: number): boolean =>
  typeof value === 'number' && Number.isInteger(value) && value >= low && value <= high

/** DNS-1123 subdomain. Source: Kubernetes "Object Names and IDs". */
export function isDnsName(text: string): boolean {
  return text.length <= 253 && text.split('.').every((label) => LABEL.test(label))
}

export const CGROUP_PATH_WORDS =
  'the path of one cgroup below the root of cgroup v2, such as system.slice/nginx.service: ' +
  `no "/" in front, no ".", no "..", no wildcards, at most ${LIMITS.cgroupDepthMax} names of at ` +
  `most ${LIMITS.cgroupNameBytesMax} bytes`

/** Path of one cgroup below the root: `system.slice/nginx.service`, without globs. */
export function isCgroupPath(text: string): boolean {
  const names = text.split('/')
  return names.length <= LIMITS.cgroupDepthMax && names.every(isCgroupName)
}

function isCgroupName(name: string): boolean {
  const isPlain = /^[^\s*?[\]{}]+$/.test(name) && name !== '.' && name !== '..'
  return isPlain && new TextEncoder().encode(name).length <= LIMITS.cgroupNameBytesMax
}

/** Milliseconds of `10s`, `1h30m`, `250ms`, or of a number of milliseconds. */
export function parseDuration(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isInteger(value) && value >= 0 ? value : undefined
  if (!isText(value) || !/^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$/.test(value)) return undefined
  let totalMs = 0
  for (const [, number, unit] of value.matchAll(/([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)/g)) {
    totalMs += Number(number) * (UNITS[unit ?? ''] ?? 0)
  }
  return Number.isSafeInteger(Math.round(totalMs)) ? Math.round(totalMs) : undefined
}

export const CHECKS = {
  ip: {
    test: (value) => isText(value) && parseIp(value) !== undefined,
    expected: 'an IPv4 or IPv6 address',
  },
  range: {
    test: (value) => isText(value) && parseCidr(value) !== undefined,
    expected: 'an IP address or a range such as 10.0.0.0/8',
  },
  clusterIp: {
    test: (value) =>
      isText(value) && (value === '' || value === 'None' || parseIp(value) !== undefined),
    expected: 'an IP address, or "None" for a headless service',
  },
  port: {
    test: (value) => isInteger(value, 1, 65535),
    expected: 'a port number from 1 to 65535',
  },
  portOrName: {
    test: (value) =>
      isInteger(value, 1, 65535) || (isText(value) && /^(?=.*[a-z])[a-z0-9-]{1,63}$/.test(value)),
    expected: 'a port number from 1 to 65535 or the name of a container port',
  },
  portText: {
    test: (value) => isText(value) && /^[1-9][0-9]{0,4}$/.test(value) && Number(value) <= 65535,
    expected: 'a port number from 1 to 65535 in quotes, such as "8080"',
  },
  weight: {
    test: (value) => isInteger(value, 0, 2 ** 31 - 1),
    expected: 'a whole number, 0 or greater',
  },
  dnsName: {
    test: (value) => isText(value) && isDnsName(value),
    expected: 'a DNS name: lower-case letters, digits, "-" and "."',
  },
  trustDomain: {
    test: (value) => isText(value) && /^[a-z0-9._-]{1,255}$/.test(value),
    expected: 'a SPIFFE trust domain: lower-case letters, digits, ".", "_" and "-"',
  },
  duration: {
    test: (value) => parseDuration(value) !== undefined,
    expected: 'a duration such as 250ms, 10s, 5m or 1h30m, or a number of milliseconds',
  },
  cgroupPath: {
    test: (value) => isText(value) && isCgroupPath(value),
    expected: CGROUP_PATH_WORDS,
  },
  nonEmpty: {
    test: (value) => isText(value) && value !== '',
    expected: 'a text that is not empty',
  },
  principal: {
    test: (value) => isText(value) && value !== '' && !/^\*?spiffe:\/\//.test(value),
    expected: 'a principal such as "cluster.local/ns/shop/sa/web", without "spiffe://"',
  },
  serviceAccount: {
    test: (value) =>
      isText(value) && value.split('/').length <= 2 && value.split('/').every(isDnsName),
    expected: '"NAMESPACE/NAME" or "NAME" of a service account, without wildcards',
  },
} as const satisfies Record<string, Check>

export type CheckName = keyof typeof CHECKS
