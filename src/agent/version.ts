// The version of weft, as its package says.
import { readFileSync } from 'node:fs'

export function weftVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return String((JSON.parse(text) as { version: unknown }).version)
}
