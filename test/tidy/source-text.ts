// A small reader of TypeScript text, enough for rules: it tells code, strings and comments apart,
// and finds imports. It knows nothing of types.

export interface Masked {
  /** The text with comments and the insides of strings blanked; the same length and lines. */
  readonly code: string
  /** The text with everything but comments blanked. */
  readonly comments: string
}

type State = 'code' | 'line' | 'block' | "'" | '"' | '`' | 'regex'

/** A slash after one of these begins a regular expression, not a division. */
const BEFORE_REGEX = /(^|[=(,:[!&|?{};+\-*%<>~^]|\b(return|case|typeof|of|in|void|await))\s*$/

export function mask(text: string): Masked {
  const code: string[] = []
  const comments: string[] = []
  let state: State = 'code'
  let isClass = false
  // For each open `${`, how many braces are open inside it.
  const templates: number[] = []
  const put = (char: string, isCode: boolean, isComment: boolean) => {
    const blank = char === '\n' ? '\n' : ' '
    code.push(isCode ? char : blank)
    comments.push(isComment ? char : blank)
  }
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? ''
    const pair = text.slice(at, at + 2)
    if (state === 'code') {
      if (pair === '//' || pair === '/*') {
        state = pair === '//' ? 'line' : 'block'
        put(char, false, true)
        put(text[++at] ?? '', false, true)
        continue
      }
      if (char === '/' && BEFORE_REGEX.test(code.slice(-40).join(''))) state = 'regex'
      else if (char === "'" || char === '"' || char === '`') state = char
      else if (templates.length > 0) state = braces(templates, char)
      put(char, true, false)
    } else if (state === 'line' || state === 'block') {
      put(char, false, true)
      if (state === 'line' && char === '\n') state = 'code'
      if (state === 'block' && pair === '*/') {
        put(text[++at] ?? '', false, true)
        state = 'code'
      }
    } else if (char === '\\') {
      put(char, false, false)
      put(text[++at] ?? '', false, false)
    } else if (state === '`' && pair === '${') {
      put(char, true, false)
      put(text[++at] ?? '', true, false)
      templates.push(0)
      state = 'code'
    } else {
      if (state === 'regex' && char === '[') isClass = true
      if (state === 'regex' && char === ']') isClass = false
      const isEnd: boolean = state === 'regex' ? char === '/' && !isClass : char === state
      if (isEnd) state = 'code'
      put(char, isEnd, false)
    }
  }
  return { code: code.join(''), comments: comments.join('') }
}

/** Counts braces inside a template's expression; its last one leads back into the template. */
function braces(templates: number[], char: string): State {
  const open = templates.pop() ?? 0
  if (char === '}' && open === 0) return '`'
  templates.push(open + (char === '{' ? 1 : 0) - (char === '}' ? 1 : 0))
  return 'code'
}

export interface Import {
  readonly specifier: string
  readonly line: number
  readonly isType: boolean
}

const IMPORT =
  /(?:^|[;\n])[ \t]*(import|export)\b(?:[ \t\n]+(type)\b)?[^;'"()]*?(?:from[ \t\n]*)?['"]|\bimport\([ \t\n]*['"]/g

/** Everything the text imports: statements, re-exports and `import()`. */
export function importsOf(text: string): Import[] {
  const { code } = mask(text)
  const found: Import[] = []
  for (const match of code.matchAll(IMPORT)) {
    const statement = match[0]
    // `export const a = '...'` has a string too, but nothing that leads to it.
    if (match[1] === 'export' && !/\bfrom[ \t\n]*['"]$/.test(statement)) continue
    if (match[1] === 'import' && !/(\bfrom|\bimport)[ \t\n]*['"]$/.test(statement)) continue
    const start = match.index + statement.length
    const end = code.indexOf(statement.at(-1) ?? "'", start)
    found.push({
      specifier: text.slice(start, end),
      line: lineAt(text, start),
      isType: match[2] === 'type',
    })
  }
  return found
}

export function lineAt(text: string, index: number): number {
  return text.slice(0, index).split('\n').length
}

/** `path:line` of each match of a pattern in the code (not in strings or comments). */
export function occurrences(file: { path: string; text: string }, pattern: RegExp): string[] {
  const { code } = mask(file.text)
  return [...code.matchAll(new RegExp(pattern, 'gm'))].map((match) => {
    const found = match[0].trim().slice(0, 60)
    return `${file.path}:${lineAt(code, match.index)}: ${found}`
  })
}
