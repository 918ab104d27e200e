// One empty file per workload that is in the mesh, for programs that wait for it (`weft run`).
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Workload } from '../model/workload.ts'

export class EnrolmentMarks {
  readonly #directory: string

  /** Marks of an earlier agent are stale and removed. */
  constructor(directory: string) {
    this.#directory = directory
    rmSync(directory, { recursive: true, force: true })
    mkdirSync(directory, { recursive: true })
  }

  set(workload: Workload, enrolled: boolean): void {
    const path = join(this.#directory, markName(workload.namespace, workload.name))
    if (enrolled) writeFileSync(path, '')
    else rmSync(path, { force: true })
  }
}

export function markName(namespace: string, name: string): string {
  return `${namespace}_${name}`
}
