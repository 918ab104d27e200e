import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { parseFile } from '../api/parse-file.ts'
import { formatIssue } from '../api/print-issue.ts'
import { worldOf } from '../api/world.ts'
import { compileWorld } from './registry.ts'

const ROOT = join(import.meta.dirname, '../../config/examples')

for (const example of readdirSync(ROOT)) {
  test(`the example "${example}" is free of issues`, (t) => {
    const files = readdirSync(join(ROOT, example))
      .filter((name) => name.endsWith('.yaml'))
      .map((name) => parseFile(name, readFileSync(join(ROOT, example, name), 'utf8')))
    const compiled = compileWorld(worldOf(files.flatMap(({ resources }) => resources)))
    const issues = [...files.flatMap((file) => file.issues), ...compiled.issues]
    t.deepEqual(issues.map(formatIssue), [])
    t.true(compiled.registry.workloads.size > 0)
    t.true(compiled.registry.services.size > 0)
    t.true(compiled.rules.authorization.size > 0)
  })
}
