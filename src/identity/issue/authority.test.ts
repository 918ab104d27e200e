import { execFile } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { type ManualClock, manualClock } from '../../base/clock.ts'
import { memoryLog } from '../../base/log.ts'
import type { SpiffeId } from '../../model/spiffe-id.ts'
import { readCertificate } from '../present/certificate-facts.ts'
import { DAY_MS, directory, fileOf, open, refusal, START_MS, WEB } from '../testing/directory.ts'
import { certificatesOf, generateKey, keyToPem } from './certificates.ts'

const modeOf = (path: string): number => statSync(path).mode & 0o777

test('a new directory gets a root, an intermediate, and private modes', async (t) => {
  const path = join(directory(t), 'ca')
  await open(path)
  const node = join(path, 'nodes/node-1')
  for (const folder of [path, join(path, 'nodes'), node]) t.is(modeOf(folder), 0o700)
  for (const key of [join(path, 'root.key'), join(node, 'intermediate.key')])
    t.is(modeOf(key), 0o600)
  const root = fileOf(path, 'root.crt')
  const intermediate = fileOf(node, 'intermediate.crt')
  t.true(root.ca && intermediate.ca && intermediate.verify(root.publicKey))
  t.is(root.validToDate.getTime(), START_MS + 3650 * DAY_MS)
  t.is(intermediate.validToDate.getTime(), START_MS + 365 * DAY_MS)
  t.deepEqual(readdirSync(path).sort(), ['nodes', 'root.crt', 'root.key'])
  t.deepEqual(readdirSync(node).sort(), ['intermediate.crt', 'intermediate.key'])
})

test('a second start makes nothing new', async (t) => {
  const path = directory(t)
  const first = await open(path)
  const held = readFileSync(join(path, 'nodes/node-1/intermediate.crt'), 'utf8')
  const second = await open(path)
  t.deepEqual(second.rootsPem, first.rootsPem)
  t.is(readFileSync(join(path, 'nodes/node-1/intermediate.crt'), 'utf8'), held)
})

test('a leaf holds one identity, both purposes, a backdated start and the chain', async (t) => {
  const authority = await open(directory(t))
  const issued = await authority.issue(WEB, DAY_MS)
  const [leaf, intermediate, ...more] = certificatesOf(issued.certificateChainPem)
  if (leaf === undefined || intermediate === undefined) return t.fail()
  t.is(more.length, 0)
  t.deepEqual(readCertificate(leaf.raw), {
    ok: true,
    value: {
      uriSans: [WEB],
      notBeforeMs: START_MS - 60_000,
      notAfterMs: START_MS + DAY_MS,
      ekus: ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'],
      isCa: false,
    },
  })
  t.is(issued.notBeforeMs, START_MS - 60_000)
  t.is(issued.notAfterMs, START_MS + DAY_MS)
  t.is(leaf.subject ?? '', '')
  t.true(leaf.checkIssued(intermediate) && leaf.verify(intermediate.publicKey))
  t.regex(Buffer.from(issued.keyPem).toString(), /^-----BEGIN PRIVATE KEY-----/)
  t.deepEqual(issued.rootsPem, authority.rootsPem)
})

test('a leaf never outlives its intermediate', async (t) => {
  const clock = manualClock(START_MS)
  const authority = await open(directory(t), { clock, intermediateTtlMs: 3 * DAY_MS })
  const issued = await authority.issue(WEB, 30 * DAY_MS)
  t.is(issued.notAfterMs, START_MS + 3 * DAY_MS)
})

test('an intermediate never outlives its root', async (t) => {
  const path = directory(t)
  await open(path, { rootTtlMs: DAY_MS })
  t.is(fileOf(path, 'nodes/node-1/intermediate.crt').validToDate.getTime(), START_MS + DAY_MS)
})

for (const id of ['spiffe://other/ns/shop/sa/web', 'web', 'spiffe://cluster.local/ns/a']) {
  test(`nothing is issued for ${id}`, async (t) => {
    const authority = await open(directory(t))
    t.regex(
      await refusal(t, authority.issue(id as SpiffeId, DAY_MS)),
      /not an identity of the trust/,
    )
  })
}

test('a closed authority issues nothing', async (t) => {
  const authority = await open(directory(t))
  authority.close()
  t.regex(await refusal(t, authority.issue(WEB, DAY_MS)), /closed/)
})

test('an intermediate is renewed before its end, with the same root', async (t) => {
  const path = directory(t)
  const clock: ManualClock = manualClock(START_MS)
  const authority = await open(path, { clock, intermediateTtlMs: 30 * DAY_MS })
  const before = fileOf(path, 'nodes/node-1/intermediate.crt')
  clock.advance(19 * DAY_MS)
  await authority.issue(WEB, DAY_MS)
  t.is(fileOf(path, 'nodes/node-1/intermediate.crt').fingerprint256, before.fingerprint256)
  clock.advance(2 * DAY_MS)
  const [one] = await Promise.all([authority.issue(WEB, DAY_MS), authority.issue(WEB, DAY_MS)])
  const after = fileOf(path, 'nodes/node-1/intermediate.crt')
  t.is(after.validToDate.getTime(), START_MS + 51 * DAY_MS)
  t.is(certificatesOf(one?.certificateChainPem ?? '')[1]?.fingerprint256, after.fingerprint256)
  t.true(after.verify(fileOf(path, 'root.crt').publicKey))
})

test('agents that start at once in one process end up with one root', async (t) => {
  for (let round = 0; round < 5; round++) {
    const path = directory(t)
    const names = ['a', 'b', 'c', 'd', 'a', 'b']
    const opened = await Promise.all(names.map((nodeName) => open(path, { nodeName })))
    t.is(new Set(opened.flatMap((authority) => authority.rootsPem)).size, 1)
    await checkTree(t, path, ['a', 'b', 'c', 'd'])
    const issued = await Promise.all(opened.map((authority) => authority.issue(WEB, DAY_MS)))
    t.is(new Set(issued.flatMap((certificate) => certificate.rootsPem)).size, 1)
  }
})

test('processes that start at once end up with one root', async (t) => {
  const path = directory(t)
  const names = ['a', 'b', 'c', 'd']
  const script = `
    import { openAuthority } from ${JSON.stringify(new URL('authority.ts', import.meta.url).href)}
    import { systemClock } from ${JSON.stringify(new URL('../../base/clock.ts', import.meta.url).href)}
    import { silentLog } from ${JSON.stringify(new URL('../../base/log.ts', import.meta.url).href)}
    const authority = await openAuthority({ directory: process.argv[1], nodeName: process.argv[2],
      trustDomain: 'cluster.local', clock: systemClock, log: silentLog })
    process.stdout.write(JSON.stringify(authority.rootsPem))`
  const run = promisify(execFile)
  const outputs = await Promise.all(
    names.map((name) =>
      run(process.execPath, ['--input-type=module-typescript', '-e', script, path, name]),
    ),
  )
  t.is(new Set(outputs.map(({ stdout }) => stdout)).size, 1)
  t.is(JSON.parse(outputs[0]?.stdout ?? '[]').length, 1)
  await checkTree(t, path, names)
})

async function checkTree(t: ExecutionContext, path: string, names: string[]): Promise<void> {
  const root = fileOf(path, 'root.crt')
  t.deepEqual(readdirSync(path).sort(), ['nodes', 'root.crt', 'root.key'])
  t.deepEqual(readdirSync(join(path, 'nodes')).sort(), names)
  for (const name of names) {
    const intermediate = fileOf(path, `nodes/${name}/intermediate.crt`)
    t.true(intermediate.verify(root.publicKey), name)
    t.is(readdirSync(join(path, 'nodes', name)).length, 2)
  }
}

test('a root key whose certificate was never written gets one', async (t) => {
  const path = directory(t)
  await open(path)
  const key = fileOf(path, 'root.crt').publicKey
  rmSync(join(path, 'root.crt'))
  await open(path)
  t.true(fileOf(path, 'root.crt').publicKey.equals(key))
})

test('further roots are accepted, each once, and found while running', async (t) => {
  const path = directory(t)
  const authority = await open(path)
  const other = directory(t)
  await open(other)
  mkdirSync(join(path, 'roots'))
  copyFileSync(join(other, 'root.crt'), join(path, 'roots/next.crt'))
  copyFileSync(join(path, 'root.crt'), join(path, 'roots/again.crt'))
  writeFileSync(join(path, 'roots/README'), 'not a root')
  const { rootsPem } = await authority.issue(WEB, DAY_MS)
  t.deepEqual(
    [...rootsPem].sort(),
    [fileOf(path, 'root.crt').toString(), fileOf(other, 'root.crt').toString()].sort(),
  )
})

test('an expired further root is left out with a warning', async (t) => {
  const path = directory(t)
  const other = directory(t)
  await open(other, { rootTtlMs: DAY_MS })
  await open(path)
  mkdirSync(join(path, 'roots'))
  copyFileSync(join(other, 'root.crt'), join(path, 'roots/old.crt'))
  const log = memoryLog()
  const authority = await open(path, { clock: manualClock(START_MS + 2 * DAY_MS), log })
  t.is(authority.rootsPem.length, 1)
  t.true(log.entries.some(({ event }) => event === 'authority.root-expired'))
})

for (const name of ['root.key', 'nodes/node-1/intermediate.key']) {
  for (const mode of [0o644, 0o640, 0o604]) {
    test(`${name} with mode ${mode.toString(8)} is refused`, async (t) => {
      const path = directory(t)
      await open(path)
      chmodSync(join(path, name), mode)
      const file = join(path, name)
      t.is(
        await refusal(t, open(path)),
        `others may read ${file} (mode 0${mode.toString(8)}): run "chmod 600 ${file}"`,
      )
    })
  }
}

test('a directory that anybody may write to is refused', async (t) => {
  const path = directory(t)
  chmodSync(path, 0o777)
  t.regex(await refusal(t, open(path)), /anybody may write to .*: run "chmod 700/)
  t.deepEqual(readdirSync(path), [])
})

test('a key of another root is refused', async (t) => {
  const path = directory(t)
  await open(path)
  writeFileSync(join(path, 'root.key'), keyToPem(await generateKey()))
  t.regex(await refusal(t, open(path)), /root\.key is not the key of .*root\.crt: restore the pair/)
})

test('an expired root is refused', async (t) => {
  const path = directory(t)
  await open(path, { rootTtlMs: DAY_MS })
  const later = manualClock(START_MS + 2 * DAY_MS)
  t.regex(await refusal(t, open(path, { clock: later })), /root\.crt has expired/)
})

for (const nodeName of ['', '..', '.', 'a/b', '.hidden', 'x'.repeat(300), 'a b']) {
  test(`the node name "${nodeName.slice(0, 10)}" is refused`, async (t) => {
    const path = directory(t)
    t.regex(await refusal(t, open(path, { nodeName })), /cannot name a directory/)
    t.deepEqual(readdirSync(path), [])
  })
}

test('a trust domain that is none is refused', async (t) => {
  t.regex(await refusal(t, open(directory(t), { trustDomain: 'A B' })), /is not a trust domain/)
})

test('a copy of the directory is the same authority', async (t) => {
  const path = directory(t)
  const first = await open(path)
  const copy = join(directory(t), 'copy')
  cpSync(path, copy, { recursive: true })
  t.deepEqual((await open(copy)).rootsPem, first.rootsPem)
})
