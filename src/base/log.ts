// The port through which every room logs: a constant event name and fields, no built strings.

export type LogFields = Readonly<Record<string, unknown>>

/**
 * Levels: `error` a person must act; `warn` degraded but healing; `info` start, stop, configuration;
 * `debug` per connection. Never keys, tokens or bodies.
 */
export interface Log {
  error(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  debug(event: string, fields?: LogFields): void
}

export const silentLog: Log = { error() {}, warn() {}, info() {}, debug() {} }

export interface LoggedEntry {
  readonly level: keyof Log
  readonly event: string
  readonly fields: LogFields
}

/** A log that keeps what it is told, for tests. */
export function memoryLog(): Log & { readonly entries: LoggedEntry[] } {
  const entries: LoggedEntry[] = []
  const at =
    (level: keyof Log) =>
    (event: string, fields: LogFields = {}) => {
      entries.push({ level, event, fields })
    }
  return { entries, error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug') }
}
