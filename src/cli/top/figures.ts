// Numbers and names as people read them at a glance. Pure.

const UNITS = ['', 'k', 'M', 'G', 'T', 'P'] as const

/** Three digits at most, and a unit: 0, 7, 1.2k, 45M. */
export function compact(value: number): string {
  let left = Math.abs(value)
  let unit = 0
  while (left >= 999.5 && unit < UNITS.length - 1) {
    left /= 1_000
    unit++
  }
  const isSmall = left < 9.95 && (unit > 0 || !Number.isInteger(left))
  const text = left === 0 ? '0' : left.toFixed(isSmall ? 1 : 0)
  return `${value < 0 ? '-' : ''}${text}${UNITS[unit]}`
}

/** Bytes in a second. */
export function rate(bytes: number | undefined): string {
  return bytes === undefined ? '-' : compact(Math.round(bytes))
}

/** Milliseconds: 0.35, 4.2, 120; seconds from a thousand on: 2.5s. */
export function milliseconds(value: number | undefined): string {
  if (value === undefined) return '-'
  if (value >= 999.5) return `${(value / 1_000).toFixed(1)}s`
  if (value >= 9.95) return value.toFixed(0)
  return value.toFixed(value >= 0.995 ? 1 : 2)
}

/** 12 s, 4 min, 3 h, 2 d. */
export function duration(ms: number): string {
  const seconds = Math.floor(ms / 1_000)
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7_200) return `${Math.floor(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}

/**
 * `spiffe://td/ns/shop/sa/web` as `shop/web`; with its trust domain in front when that is not
 * `usual`, and as it is when it is no identity of this form.
 */
export function shortIdentity(id: string, usual: string): string {
  const [, domain, namespace, account] =
    /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(id) ?? []
  if (domain === undefined) return id
  const name = `${namespace}/${account}`
  return domain === usual ? name : `${domain}:${name}`
}

export function trustDomainOf(id: string): string | undefined {
  return /^spiffe:\/\/([^/]+)\//.exec(id)?.[1]
}

/** `web.shop.svc.cluster.local` as `web.shop`; other hosts as they are. */
export function shortService(hostname: string): string {
  const at = hostname.indexOf('.svc.')
  return at < 0 ? hostname : hostname.slice(0, at)
}

/** Without what a terminal would obey: names come from files that others write. */
export function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?')
}
