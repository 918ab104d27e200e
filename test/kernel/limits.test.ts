// Scarce descriptors and missing privileges, each in a process of its own.
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import type { Rig } from '../../src/kernel/compliance/rig.ts'
import { openNativeRig } from './rig.ts'

let rig: Rig
test.before(async () => {
  rig = await openNativeRig('limits')
})
test.after.always(() => rig?.close())

/** Runs a script under `prefix` and returns the JSON of its last line. */
function runScript(prefix: readonly string[], script: string, args: readonly string[]): unknown {
  const path = fileURLToPath(new URL(script, import.meta.url))
  const [command, ...rest] = [...prefix, process.execPath, path, ...args]
  const { stdout, stderr, status } = spawnSync(command ?? '', rest, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${script} ended with ${status}: ${stderr}`)
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
}

test.serial('a process without descriptors waits, says so once and goes on', (t) => {
  const result = runScript(['prlimit', '--nofile=80'], './starved-process.ts', [rig.scratch])
  t.deepEqual(result, {
    acceptErrors: ['EMFILE'],
    acceptedAfter: true,
    turnsWhileStarved: 'few',
    unixErrors: ['EMSGSIZE'],
    listen: 'EMFILE',
    connect: 'EMFILE',
    duplicate: 'EMFILE',
  })
})

test.serial('without privileges every operation that needs them is EPERM', (t) => {
  const object = `${rig.scratch}/sample.bpf.o`
  writeFileSync(object, rig.sample)
  const prefix = ['setpriv', '--bounding-set=-all', '--inh-caps=-all']
  const result = runScript(prefix, './powerless-process.ts', [rig.namespace, object])
  t.deepEqual(result, {
    createMap: 'EPERM',
    loadObject: 'EPERM',
    openMapById: 'EPERM',
    setns: 'EPERM',
    transparent: 'EPERM',
    mark: 'EPERM',
    destroySockets: 'EPERM',
    listen: 'ok',
  })
})
