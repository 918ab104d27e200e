// What a route can be: endpoints to choose from, the way out of the mesh, or a refusal.
import type { WeightedChoice } from '../../balancing/weighted.ts'
import type { Reason } from '../../model/reason.ts'
import type { TableService } from '../../model/tables.ts'
import type { Endpoint } from './endpoints.ts'

export type Route =
  | {
      readonly kind: 'endpoints'
      readonly service: TableService | undefined
      readonly choice: WeightedChoice<Endpoint>
    }
  | { readonly kind: 'passthrough'; readonly service: TableService | undefined }
  | { readonly kind: 'refused'; readonly reason: Reason; readonly detail: string }

export function refused(reason: Reason, detail: string): Route {
  return { kind: 'refused', reason, detail }
}

/** The one endpoint that an address stands for, without a service. */
export function routeTo(endpoint: Endpoint): Route {
  return { kind: 'endpoints', service: undefined, choice: { items: [endpoint], cumulative: [1] } }
}
