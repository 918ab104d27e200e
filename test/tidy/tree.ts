// The project's own files, as the rules read them.
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export interface SourceFile {
  /** Relative to the root, e.g. `src/policy/authorize.ts`. */
  readonly path: string
  readonly text: string
}

const NEVER = /(^|\/)(node_modules|build|build-asan|dist|prebuilds|coverage|out|\.weft|\.git)(\/|$)/

/** Files that match one of the patterns, sorted; what is built or installed is never among them. */
export function files(...patterns: string[]): SourceFile[] {
  return globSync(patterns, { cwd: ROOT, exclude: (path) => NEVER.test(path) })
    .filter((path) => /\.\w+$/.test(path) && !NEVER.test(path))
    .sort()
    .map((path) => ({ path, text: read(path) }))
}

export function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

export function exists(path: string): boolean {
  return existsSync(join(ROOT, path))
}

export function isTest(path: string): boolean {
  return /\.test\.m?[jt]s$/.test(path)
}
