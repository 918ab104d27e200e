// The agent's own log: JSON lines through pino, on standard error so that standard output carries
// only what was asked for.
import { pino } from 'pino'
import type { Log, LogFields } from '../base/log.ts'
import type { AgentOptions } from './options.ts'

export function openLog(level: AgentOptions['logLevel'], nodeName: string): Log {
  const sink = pino.destination({ fd: 2, sync: true })
  const logger = pino(
    {
      level,
      base: { node: nodeName },
      messageKey: 'event',
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    sink,
  )
  const at =
    (name: keyof Log) =>
    (event: string, fields: LogFields = {}): void => {
      logger[name](fields, event)
    }
  return { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug') }
}
