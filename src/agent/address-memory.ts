// Remembers which addresses the mesh gave to services, so that programs that hold one find the same
// service behind it after the agent has restarted.
import { readFileSync, renameSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import { type AddressPlaces, isPlace } from '../compile/assign-addresses.ts'

/** Changes with the ranges that places stand for; a memory of another format is forgotten. */
const FORMAT = 1

interface Memory {
  readonly format: number
  readonly places: readonly (readonly [key: string, place: number])[]
}

export class AddressMemory {
  readonly #file: string
  readonly #log: Log
  #places: AddressPlaces

  constructor(parts: { readonly log: Log }, file: string) {
    this.#log = parts.log
    this.#file = file
    this.#places = this.#read()
  }

  get places(): AddressPlaces {
    return this.#places
  }

  /** To be awaited before anybody is told an address. What cannot be written holds until the agent
   * ends, and almost always longer: the places are hashes. */
  async keep(places: AddressPlaces): Promise<void> {
    if (same(this.#places, places)) return
    this.#places = places
    const memory: Memory = { format: FORMAT, places: [...places] }
    const draft = `${this.#file}.draft`
    try {
      await writeFile(draft, JSON.stringify(memory), { mode: 0o600 })
      await rename(draft, this.#file)
    } catch (error) {
      this.#log.warn('addresses.memory-failed', { file: this.#file, error: errorText(error) })
    }
  }

  #read(): AddressPlaces {
    let text: string
    try {
      text = readFileSync(this.#file, 'utf8')
    } catch {
      return new Map() // never written
    }
    try {
      const { format, places } = JSON.parse(text) as Memory
      if (format !== FORMAT) return new Map()
      return new Map(places.filter(([key, place]) => typeof key === 'string' && isPlace(place)))
    } catch (error) {
      this.#log.warn('addresses.memory-unreadable', { file: this.#file, error: errorText(error) })
      renameSync(this.#file, `${this.#file}.unreadable`)
      return new Map()
    }
  }
}

/** In the same order: it says who went first. */
function same(a: AddressPlaces, b: AddressPlaces): boolean {
  if (a.size !== b.size) return false
  const others = b.entries()
  for (const [key, place] of a) {
    const other = others.next().value
    if (other?.[0] !== key || other[1] !== place) return false
  }
  return true
}
