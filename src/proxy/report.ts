// Turns the notebook of a connection and its ending into one entry of the access log.
import type { AccessEntry } from '../model/access-entry.ts'
import type { Ending } from '../model/facts.ts'
import { REASONS } from '../model/reason.ts'
import type { Connection, Named } from './connection.ts'

/** To be called once per connection. */
export function accessEntry(connection: Connection, ending: Ending, nowMs: number): AccessEntry {
  const { source, destination } = connection
  return {
    direction: connection.direction,
    path: connection.path,
    reason: ending.reason,
    ...given('detail', ending.detail),
    flag: REASONS[ending.reason].flagL4,
    ...given('policy', connection.policy),
    source: {
      ip: source.ip,
      port: source.port,
      ...named(connection.sourceWorkload),
      ...given('identity', connection.sourceIdentity),
    },
    destination: {
      ip: destination.ip,
      port: destination.port,
      ...named(connection.destinationWorkload),
      ...given('service', connection.service),
      ...given('identity', connection.destinationIdentity),
      ...given('endpoint', connection.endpoint),
    },
    sentBytes: ending.sentBytes,
    receivedBytes: ending.receivedBytes,
    durationMs: Math.max(0, nowMs - connection.startedMs),
    ...(connection.attempts > 0 ? { attempts: connection.attempts } : {}),
    version: connection.version,
  }
}

function named(workload: Named | undefined): {
  readonly workload?: string
  readonly namespace?: string
} {
  if (workload === undefined) return {}
  return { ...given('workload', workload.name), namespace: workload.namespace }
}

function given<K extends string>(
  key: K,
  value: string | undefined,
): { readonly [key in K]?: string } {
  return value === undefined ? {} : ({ [key]: value } as { readonly [key in K]?: string })
}
