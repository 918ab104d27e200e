// The `weft` command: reads arguments, calls a room, prints, and sets the exit code.
import { Command, CommanderError } from 'commander'
import { weftVersion } from '../agent/version.ts'
import { errorText } from '../base/mesh-error.ts'
import { addAgentCommands } from './agent-command.ts'
import { addCheckCommand } from './check-command.ts'
import { addRunCommand } from './run-command.ts'
import { addStatusCommand } from './status-command.ts'
import { addTopCommand } from './top-command.ts'

export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command('weft')
    .description('A service mesh without sidecars')
    .version(weftVersion())
    .exitOverride()
    .enablePositionalOptions()
  let code = 0
  const exit = (value: number): void => {
    code = value
  }
  addAgentCommands(program, exit)
  addRunCommand(program, exit)
  addCheckCommand(program, exit)
  addTopCommand(program)
  addStatusCommand(program, exit)
  try {
    await program.parseAsync([...argv], { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode
    process.stderr.write(`weft: ${errorText(error)}\n`)
    return 1
  }
  return code
}

process.exitCode = await main(process.argv.slice(2))
