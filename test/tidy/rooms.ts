// The rooms of src/ and what each may import: the rules of ARCHITECTURE.md as functions.
import { posix } from 'node:path'
import { importsOf, occurrences } from './source-text.ts'
import { isTest, type SourceFile } from './tree.ts'

/** A file imports only rooms of a lower rank, or its own. */
export const RANKS: Readonly<Record<string, number>> = {
  base: 0,
  model: 1,
  policy: 2,
  routing: 2,
  balancing: 2,
  resilience: 2,
  api: 2,
  wire: 2,
  telemetry: 2,
  kernel: 2,
  compile: 3,
  identity: 3,
  discovery: 3,
  external: 3,
  proxy: 4,
  insight: 5,
  admin: 5,
  agent: 6,
  control: 6,
  cli: 7,
  dashboard: 7,
}

const FORBIDDEN: Readonly<Record<string, readonly string[]>> = {
  proxy: ['api', 'discovery', 'wire', 'external'],
  control: ['kernel', 'proxy'],
}

/** Data in, data out: no clock, no dice, no world. */
export const PURE_ROOMS = [
  'policy',
  'routing',
  'balancing',
  'resilience',
  'compile',
  'api',
  'insight',
]

/** What writes as data only may be built on; the readers of YAML and schemas are pure as well. */
const PURE_PACKAGES = ['yaml', 'ajv', 're2js']

const IMPURE =
  /\b(Date\.now|new Date\(\)|Math\.random|performance\.|process\.|console\.|setTimeout|setInterval|setImmediate|queueMicrotask|crypto\.|fetch\()/

export function roomOf(path: string): string | undefined {
  return /^src\/([^/]+)\//.exec(path)?.[1]
}

/** Edges that lead up, sideways, out of src/, or where they are forbidden. Tests are free. */
export function wrongEdges(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ path }) => !isTest(path))
    .flatMap((file) => importsOf(file.text).flatMap((each) => wrongEdge(file.path, each)))
}

function wrongEdge(path: string, { specifier, line }: { specifier: string; line: number }) {
  if (!specifier.startsWith('.')) return []
  const target = posix.join(posix.dirname(path), specifier)
  const [from, to] = [roomOf(path), roomOf(target)]
  const where = `${path}:${line}: imports ${target}`
  if (from === undefined || RANKS[from] === undefined) return [`${path}: is in no known room`]
  if (to === undefined || RANKS[to] === undefined) return [`${where}, which is in no room`]
  if (from === to) return []
  if (RANKS[to] >= RANKS[from]) return [`${where}: ${to} is not below ${from}`]
  if (FORBIDDEN[from]?.includes(to)) return [`${where}: ${from} must not see ${to}`]
  return []
}

/** Imports and calls that a pure room must not have. */
export function impurities(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ path }) => !isTest(path) && PURE_ROOMS.includes(roomOf(path) ?? ''))
    .flatMap((file) => [...foreignImports(file, PURE_PACKAGES), ...occurrences(file, IMPURE)])
}

/** `model` holds nouns: no packages, no classes, no state, nothing that waits. */
export function notData(files: readonly SourceFile[]): string[] {
  const ACTS = /^(export )?(abstract )?class\b|\basync\b|\bawait\b|^(export )?(let|var)\b/
  return files
    .filter(({ path }) => !isTest(path) && roomOf(path) === 'model')
    .flatMap((file) => [
      ...foreignImports(file, []),
      ...occurrences(file, ACTS),
      ...occurrences(file, IMPURE),
    ])
}

function foreignImports(file: SourceFile, allowed: readonly string[]): string[] {
  return importsOf(file.text)
    .filter(({ specifier, isType }) => {
      if (specifier.startsWith('.')) return false
      const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
      return !isType && !allowed.includes(name)
    })
    .map(({ specifier, line }) => `${file.path}:${line}: imports ${specifier}`)
}
