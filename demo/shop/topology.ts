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

/** Virtual addresses, as in config/shop.yaml; the programs know nothing else of each other. */
export const ADDRESSES = {
  web: '10.96.0.10:80',
  catalog: '10.96.0.11:80',
  cart: '10.96.0.12:80',
  stock: '10.96.0.13:7000',
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
