// `weft check DIR`: says whether a configuration directory is good, without touching anything.
import type { Command } from 'commander'
import { formatIssue } from '../api/print-issue.ts'
import { compileWorld } from '../compile/registry.ts'
import { loadDirectory } from '../discovery/file-source.ts'

export function addCheckCommand(program: Command, exit: (code: number) => void): void {
  program
    .command('check <directory>')
    .description('check a configuration directory; exit code 1 if it has errors')
    .action(async (directory: string) => {
      const { world, issues } = await loadDirectory(directory)
      const compiled = compileWorld(world)
      const all = [...issues, ...compiled.issues]
      for (const issue of all) process.stdout.write(`${formatIssue(issue)}\n`)
      const errors = all.filter((issue) => issue.severity === 'error').length
      const { workloads, services } = compiled.registry
      process.stdout.write(
        `${workloads.size} workloads, ${services.size} services, ` +
          `${compiled.rules.authorization.size} authorization policies: ` +
          `${errors} errors, ${all.length - errors} warnings\n`,
      )
      exit(errors > 0 ? 1 : 0)
    })
}
