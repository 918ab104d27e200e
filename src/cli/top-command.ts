// `weft top`: who talks to whom on this node, or on several, second by second.
import { resolve } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { systemClock } from '../base/clock.ts'
import { liveView, plainView, type ViewOptions, wantsColours } from './top/live-view.ts'

interface Flags {
  readonly state: readonly string[]
  readonly interval: number
  readonly once?: boolean
}

export const DEFAULT_STATE = '/run/weft'

export function addTopCommand(program: Command): void {
  program
    .command('top')
    .description('show who talks to whom, how, under which identity, and how much')
    .option(
      '--state <directory>',
      `state directory of an agent; may be repeated (default: ${DEFAULT_STATE})`,
      collect,
      [],
    )
    .option('--interval <seconds>', 'time between two looks', parseInterval, 1)
    .option('--once', 'print one table and end; also when the output is no terminal')
    .action((flags: Flags) => top(flags))
}

export function collect(text: string, before: readonly string[]): readonly string[] {
  return [...before, resolve(text)]
}

export function statesOf(given: readonly string[]): readonly string[] {
  return given.length > 0 ? [...new Set(given)] : [DEFAULT_STATE]
}

function parseInterval(text: string): number {
  const seconds = Number(text)
  if (seconds >= 0.2 && seconds <= 3_600) return seconds
  throw new InvalidArgumentError('expected seconds, from 0.2 to 3600.')
}

async function top(flags: Flags): Promise<void> {
  const options: ViewOptions = {
    states: statesOf(flags.state),
    intervalMs: flags.interval * 1_000,
    title: 'weft top',
  }
  const { stdout, stdin } = process
  if (flags.once === true || !stdout.isTTY) {
    stdout.write(await plainView(options, systemClock))
    return
  }
  const ended = new AbortController()
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  const end = (): void => ended.abort()
  for (const name of signals) process.on(name, end)
  // A terminal that is gone takes nothing more.
  stdout.on('error', end)
  try {
    const colours = wantsColours(stdout, process.env)
    await liveView(options, { output: stdout, input: stdin, colours }, ended.signal)
  } finally {
    for (const name of signals) process.off(name, end)
  }
}
