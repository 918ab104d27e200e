// Workloads and probers of the node's own namespace as the kernel knows them: a tree of the names
// of cgroups, from the root of the hierarchy down, kept in one map and read back from it.
import { CGROUP_NAME_MAX, CGROUP_ROOT, HOST, HOST_NAME } from '../abi.ts'
import type { BpfMap } from '../kernel.ts'

/** What the kernel knows of one cgroup. */
export interface HostEntry {
  /** 0: none. */
  readonly workload: number
  readonly flags: number
  readonly ip4: string
  readonly ip6: string
}

interface Node {
  readonly name: string
  readonly parent: Node | undefined
  readonly children: Map<string, Node>
  /** Parent of its children's names; 0 as long as it has none. */
  below: bigint
  entry: HostEntry
}

const NOTHING: HostEntry = { workload: 0, flags: 0, ip4: '::', ip6: '::' }

export class HostNames {
  readonly #map: BpfMap
  readonly #root: Node
  #next = CGROUP_ROOT + 1n

  /** Reads what the map holds. */
  constructor(map: BpfMap) {
    this.#map = map
    this.#root = { ...newNode('', undefined), below: CGROUP_ROOT }
    this.#read()
  }

  /** Cgroups that are something themselves, with the names that lead to them. */
  entries(): { readonly names: readonly string[]; readonly entry: HostEntry }[] {
    return descendants(this.#root)
      .filter(({ entry }) => isSomething(entry))
      .map((node) => ({ names: namesOf(node), entry: node.entry }))
  }

  find(names: readonly string[]): HostEntry {
    return this.#walk(names)?.entry ?? NOTHING
  }

  /** Changes what a cgroup is. A path becomes known by its last name first, so that whoever walks
   * down meanwhile finds all of it or nothing. */
  change(names: readonly string[], change: Partial<HostEntry>): void {
    const node = this.#make(names)
    node.entry = { ...node.entry, ...change }
    if (isSomething(node.entry)) this.#writeUpward(node)
    else this.#prune(node)
  }

  #walk(names: readonly string[]): Node | undefined {
    let node: Node | undefined = this.#root
    for (const name of names) node = node?.children.get(name)
    return node
  }

  #make(names: readonly string[]): Node {
    let node = this.#root
    for (const name of names) {
      if (node.below === 0n) node.below = this.#next++
      const known = node.children.get(name)
      const child = known ?? newNode(name, node)
      if (known === undefined) node.children.set(name, child)
      node = child
    }
    return node
  }

  /** Removes what leads nowhere, from the last name up. */
  #prune(node: Node): void {
    const { parent } = node
    if (parent === undefined) return
    if (isSomething(node.entry) || node.children.size > 0) {
      if (node.children.size === 0) node.below = 0n
      this.#write(node)
      return
    }
    parent.children.delete(node.name)
    this.#map.delete(keyOf(node.name, parent.below))
    this.#prune(parent)
  }

  #writeUpward(node: Node): void {
    this.#write(node)
    if (node.parent !== undefined) this.#writeUpward(node.parent)
  }

  #write(node: Node): void {
    const { name, parent, below, entry } = node
    if (parent === undefined) return
    this.#map.update(keyOf(name, parent.below), HOST.encode({ below, ...entry }))
  }

  #read(): void {
    const byParent = Map.groupBy(
      this.#map.entries().map(([key, value]) => ({
        ...decodeKey(key),
        ...HOST.decode(value),
      })),
      ({ parent }) => parent,
    )
    const grow = (node: Node): void => {
      for (const { name, below, workload, flags, ip4, ip6 } of byParent.get(node.below) ?? []) {
        const entry = { workload, flags, ip4, ip6 }
        const child = { ...newNode(name, node), below, entry }
        node.children.set(name, child)
        if (below >= this.#next) this.#next = below + 1n
        if (below !== 0n) grow(child)
      }
    }
    grow(this.#root)
  }
}

function newNode(name: string, parent: Node | undefined): Node {
  return { name, parent, children: new Map(), below: 0n, entry: NOTHING }
}

const isSomething = ({ workload, flags }: HostEntry): boolean => workload !== 0 || flags !== 0

function descendants(node: Node): Node[] {
  return [...node.children.values()].flatMap((child) => [child, ...descendants(child)])
}

function namesOf(node: Node): string[] {
  return node.parent === undefined ? [] : [...namesOf(node.parent), node.name]
}

function keyOf(name: string, parent: bigint): Buffer {
  const bytes = Buffer.alloc(CGROUP_NAME_MAX)
  bytes.write(name)
  return HOST_NAME.encode({ parent, name: [...bytes] })
}

function decodeKey(key: Buffer): { readonly parent: bigint; readonly name: string } {
  const { parent, name } = HOST_NAME.decode(key)
  const bytes = Buffer.from(name)
  return { parent, name: bytes.subarray(0, bytes.indexOf(0)).toString() }
}
