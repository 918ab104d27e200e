// The shop: which program runs on which node, under which account, and who calls whom.

export type NodeName = 'one' | 'two'

export interface Member {
  readonly name: string
  readonly node: NodeName
  /** `weft run` gives it this label, by which its Service selects it. */
  readonly app: string
}

export const MEMBERS: readonly Member[] = [
  { name: 'stock', node: 'one', app: 'stock' },
  { name: 'catalog', node: 'one', app: 'catalog' },
  { name: 'cart', node: 'two', app: 'cart' },
  { name: 'web', node: 'two', app: 'web' },
  { name: 'shopper', node: 'one', app: 'shopper' },
]

/** All that the programs know of each other. */
export const CALLS = {
  web: 'web.shop:80',
  catalog: 'catalog.shop:80',
  cart: 'cart.shop:80',
  stock: 'stock.shop:7000',
} as const

export interface Edge {
  readonly from: string
  readonly to: string
  /** How the mesh is expected to carry it. */
  readonly path: 'tunnel' | 'direct'
}

export const EDGES: readonly Edge[] = [
  { from: 'shopper', to: 'web', path: 'tunnel' },
  { from: 'web', to: 'catalog', path: 'tunnel' },
  { from: 'web', to: 'cart', path: 'tunnel' },
  { from: 'catalog', to: 'stock', path: 'direct' },
  { from: 'cart', to: 'stock', path: 'tunnel' },
]

export const identity = (name: string): string => `spiffe://shop.example/ns/shop/sa/${name}`
