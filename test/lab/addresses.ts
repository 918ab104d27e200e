// Which address everything in a lab has. Every lab is alone in its namespaces, so the plan is the
// same in each.

export interface NodeAddresses {
  readonly v4: string
  readonly v6: string
  /** Address of the node on its pods' bridge: their default gateway. */
  readonly gateway4: string
  readonly gateway6: string
  readonly pool4: string
  readonly pool6: string
}

/** `index` counts nodes from 1. */
export function nodeAddresses(index: number): NodeAddresses {
  return {
    v4: `10.200.0.${index}`,
    v6: `fd00:200::${index}`,
    gateway4: `10.244.${index}.1`,
    gateway6: `fd00:244:0:${index}::1`,
    pool4: `10.244.${index}.0/24`,
    pool6: `fd00:244:0:${index}::/64`,
  }
}

/** `index` counts pods of the node from 1. */
export function podAddresses(node: number, index: number): { v4: string; v6: string } {
  return { v4: `10.244.${node}.${index + 9}`, v6: `fd00:244:0:${node}::${index + 9}` }
}

/** A service's virtual addresses; nothing in the lab routes to them. */
export function virtualAddresses(index: number): { v4: string; v6: string } {
  return { v4: `10.96.0.${index + 9}`, v6: `fd00:96::${index + 9}` }
}

/** The wire itself: where end marks of captures are sent. */
export const WIRE4 = '10.200.0.254'
