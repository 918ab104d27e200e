// The package as a user gets it: runs without sources, compiler or types.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { exec } from '../lab/shell.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

test('the packed program runs where only the package is', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-pack-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  await exec([process.execPath, 'scripts/run.mjs', 'pack'], { cwd: ROOT, timeoutMs: 120_000 })
  await exec(['npm', 'pack', '--ignore-scripts', '--pack-destination', directory], { cwd: ROOT })
  const [archive = ''] = readdirSync(directory).filter((name) => name.endsWith('.tgz'))
  const modules = join(directory, 'node_modules')
  mkdirSync(modules)
  await exec(['tar', 'xf', join(directory, archive), '-C', modules])
  const weft = join(modules, 'weft')
  cpSync(join(modules, 'package'), weft, { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(weft, 'node_modules'))

  const objects = readdirSync(join(weft, 'bpf', 'out')).filter((name) => name.endsWith('.o'))
  t.true(objects.includes('connect.o'))
  t.false(readdirSync(weft).includes('src'))
  const run = (...args: string[]) =>
    exec([process.execPath, join(weft, 'bin', 'weft.mjs'), ...args])
  t.regex((await run('--version')).stdout, /^\d+\.\d+\.\d+\n$/)
  await t.notThrowsAsync(run('check', join(weft, 'config', 'examples', 'shop')))
  // The addon comes from the package too.
  const load = `
    const { nativeKernel } = await import(${JSON.stringify(join(weft, 'dist/kernel/native.js'))})
    const kernel = nativeKernel()
    console.log(typeof kernel)`
  const loaded = await exec([process.execPath, '--input-type=module', '-e', load])
  t.is(loaded.stdout.trim(), 'object')
})
