// Rules of form that neither the compiler nor the linter holds.
import { mask, occurrences } from './source-text.ts'
import { isTest, type SourceFile } from './tree.ts'

export const LINES_MAX = 400
export const TEST_LINES_MAX = 600
export const FUNCTION_LINES_MAX = 60

export function tooLong(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, text }) => {
    const max = isTest(path) ? TEST_LINES_MAX : LINES_MAX
    const lines = text.trimEnd().split('\n').length
    return lines > max ? [`${path}: ${lines} lines, at most ${max}`] : []
  })
}

const FUNCTION_HEAD =
  /(\bfunction\b.*|=>|^\s*(async |static |get |set |\*|#|private )*[\w$#]+(<.*>)?\(.*\).*|^\s*\).*) \{$/
const NO_FUNCTION =
  /^\s*(\}? ?else|if|for|while|switch|catch|try|do|return|throw|class|interface)\b/

/**
 * Functions longer than the limit; functions inside count for themselves, so that a composition or
 * a suite may be long where it only lists. A heuristic over formatted text: a head ends its line
 * with an opening brace, and its end is the first line that begins with a brace at the same depth.
 */
export function longFunctions(files: readonly SourceFile[]): string[] {
  return files.filter(({ path }) => !isTest(path)).flatMap(longFunctionsOf)
}

function longFunctionsOf(file: SourceFile): string[] {
  const ranges = functionRanges(mask(file.text).code.split('\n'))
  return ranges.flatMap(({ start, end }) => {
    const inside = ranges.filter((each) => each.start > start && each.end <= end)
    const direct = inside.filter(
      (each) => !inside.some((other) => other.start < each.start && other.end >= each.end),
    )
    const nested = direct.reduce((sum, each) => sum + each.end - each.start + 1, 0)
    const length = end - start - 1 - nested
    if (length <= FUNCTION_LINES_MAX) return []
    return [`${file.path}:${start + 1}: ${length} lines, at most ${FUNCTION_LINES_MAX}`]
  })
}

function functionRanges(lines: readonly string[]): { start: number; end: number }[] {
  return lines.flatMap((line, start) => {
    if (!FUNCTION_HEAD.test(line) || NO_FUNCTION.test(line)) return []
    const depth = line.search(/\S/)
    const length = lines.slice(start + 1).findIndex((each) => {
      return each.search(/\S/) === depth && each.trimStart().startsWith('}')
    })
    return length < 0 ? [] : [{ start, end: start + length + 1 }]
  })
}

export function defaultExports(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => occurrences(file, /^export default\b|\bas default\b/))
}

/** Files that only pass on what others export. */
export function barrels(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => [
    ...occurrences(file, /^export (type )?(\*|\{[^}]*\}\s+from\b)/),
    ...(/\/index\.ts$/.test(file.path) ? [`${file.path}: name it after what it holds`] : []),
  ])
}

export function enums(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => occurrences(file, /^\s*(export )?(const )?enum\s+\w+/))
}

const ANY = /(:|<|\bas|\||=>)\s*any\b(?!\s*[:(.])/
const NON_NULL = /[\w)\]]!(?=[.[;,)\]]|\s*$|\s+[^=\s])/

/** `any` and `!` without a comment beside or above that says why. */
export function unexplained(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => {
    const { code, comments } = mask(file.text)
    const commentLines = comments.split('\n')
    return code.split('\n').flatMap((line, at) => {
      if (!ANY.test(line) && !NON_NULL.test(line)) return []
      const isExplained = [at, at - 1].some((index) => commentLines[index]?.trim())
      return isExplained ? [] : [`${file.path}:${at + 1}: ${line.trim().slice(0, 60)}`]
    })
  })
}

/** Tests that prove nothing, or hide the others. */
export function idleTests(files: readonly SourceFile[]): string[] {
  const IDLE = /\btest(\.\w+)*\.(skip|only|todo|failing)\b|\bt\.(skip|timeout\(0)/
  return files.filter(({ path }) => isTest(path)).flatMap((file) => occurrences(file, IDLE))
}

/** Files without the SPDX line that native and BPF sources begin with. */
export function withoutLicence(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ text }) => !/^.*SPDX-License-Identifier: /.test(text))
    .map(({ path }) => `${path}: the first line must be an SPDX-License-Identifier`)
}
