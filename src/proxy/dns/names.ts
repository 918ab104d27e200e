// Which service, or which of its endpoints, a name stands for, to a workload of one namespace.
// Source: Kubernetes "DNS for Services and Pods"; Istio, DNS proxying.
import type { TableService, Tables, TableWorkload } from '../../model/tables.ts'

export interface Meaning {
  readonly service: TableService
  /** One endpoint of a headless service. */
  readonly endpoint?: TableWorkload
  /** The name proper, where it was asked with a search domain behind it. */
  readonly alias?: string
}

/** `name`: lower case, without the last dot. Undefined: nobody here has that name. */
export function meaningOf(tables: Tables, namespace: string, name: string): Meaning | undefined {
  if (tables.serviceByHost.size === 0) return undefined
  const proper = properNames(tables, namespace, name)
  for (const candidate of proper) {
    const found = exactly(tables, namespace, candidate, candidate !== name)
    if (found !== undefined) return candidate === name ? found : { ...found, alias: nameIn(found) }
  }
  for (const candidate of proper) {
    const service = underWildcard(tables, namespace, candidate)
    if (service === undefined) continue
    return candidate === name ? { service } : { service, alias: candidate }
  }
  return undefined
}

/** The name itself, then what is left of it without each search domain that it may have got. */
function properNames(tables: Tables, namespace: string, name: string): readonly string[] {
  const { clusterDomain } = tables.mesh
  if (!name.endsWith(`.${clusterDomain}`)) return [name]
  const domains = [`.${namespace}.svc.${clusterDomain}`, `.svc.${clusterDomain}`]
  const names = [name]
  for (const domain of [...domains, `.${clusterDomain}`]) {
    if (name.endsWith(domain) && name.length > domain.length)
      names.push(name.slice(0, -domain.length))
  }
  return names
}

function exactly(
  tables: Tables,
  namespace: string,
  name: string,
  searched: boolean,
): Meaning | undefined {
  const service = serviceNamed(tables, namespace, name)
  if (service !== undefined) return { service }
  const endpoint = endpointNamed(tables, namespace, name)
  if (endpoint !== undefined) return endpoint
  const full = fullName(tables.mesh.clusterDomain, namespace, name, searched)
  const short = full === undefined ? undefined : serviceNamed(tables, namespace, full)
  return short === undefined ? undefined : { service: short }
}

/** What a short name is short for. With a search domain behind it a single label is not a name: the
 * same label is asked for with the right one as well. */
function fullName(
  clusterDomain: string,
  namespace: string,
  name: string,
  searched: boolean,
): string | undefined {
  const labels = name.split('.')
  if (labels.length === 1 && !searched) return `${name}.${namespace}.svc.${clusterDomain}`
  if (labels.length === 2) return `${name}.svc.${clusterDomain}`
  if (labels.length === 3 && labels[2] === 'svc') return `${name}.${clusterDomain}`
  return undefined
}

/** Of several with one host: that of the asker's namespace, the Kubernetes Service, the first. */
function serviceNamed(tables: Tables, namespace: string, host: string): TableService | undefined {
  const keys = tables.serviceByHost.get(host)
  if (keys === undefined) return undefined
  const services = keys.flatMap((key) => tables.services.get(key) ?? [])
  return (
    services.find((service) => service.namespace === namespace) ??
    services.find((service) => isNative(service)) ??
    services[0]
  )
}

/** A Service: its host is made of its own name and namespace. */
function isNative({ hostname, name, namespace }: TableService): boolean {
  return hostname.startsWith(`${name}.${namespace}.svc.`)
}

/** `endpoint.service.namespace.svc.domain`, of a headless service. */
function endpointNamed(tables: Tables, namespace: string, name: string): Meaning | undefined {
  const dot = name.indexOf('.')
  if (dot < 0) return undefined
  const service = serviceNamed(tables, namespace, name.slice(dot + 1))
  if (service === undefined || !isHeadless(service)) return undefined
  const own = name.slice(0, dot)
  for (const uid of service.endpoints) {
    const endpoint = tables.workloads.get(uid)
    if (endpoint?.name === own) return { service, endpoint }
  }
  return undefined
}

/** Its name stands for its endpoints. */
export function isHeadless(service: TableService): boolean {
  return service.vips.length === 0 && service.resolution === 'static' && isNative(service)
}

/** The nearest wildcard above the name. */
function underWildcard(tables: Tables, namespace: string, name: string): TableService | undefined {
  for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
    const service = serviceNamed(tables, namespace, `*${name.slice(dot)}`)
    if (service !== undefined) return service
  }
  return undefined
}

function nameIn({ service, endpoint }: Meaning): string {
  return endpoint === undefined ? service.hostname : `${endpoint.name}.${service.hostname}`
}
