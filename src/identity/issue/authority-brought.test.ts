import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { manualClock } from '../../base/clock.ts'
import { memoryLog } from '../../base/log.ts'
import { brought, DAY_MS, directory, open, refusal, START_MS, WEB } from '../testing/directory.ts'
import { certificatesOf, generateKey, keyToPem } from './certificates.ts'

test('an intermediate that was brought is used without the root key', async (t) => {
  const path = await brought(t)
  const issued = await (await open(path)).issue(WEB, DAY_MS)
  const [leaf, intermediate] = certificatesOf(issued.certificateChainPem)
  t.true(leaf !== undefined && intermediate !== undefined && leaf.verify(intermediate.publicKey))
  t.false(existsSync(join(path, 'root.key')))
})

test('its root may be in roots/ instead of root.crt', async (t) => {
  const path = await brought(t)
  mkdirSync(join(path, 'roots'))
  copyFileSync(join(path, 'root.crt'), join(path, 'roots/mesh.crt'))
  rmSync(join(path, 'root.crt'))
  t.is((await open(path)).rootsPem.length, 1)
})

test('an intermediate that was brought is read again when its end is near', async (t) => {
  const path = directory(t)
  const clock = manualClock(START_MS)
  await open(path, { clock, intermediateTtlMs: 30 * DAY_MS })
  rmSync(join(path, 'root.key'))
  const log = memoryLog()
  const authority = await open(path, { clock, log })
  clock.advance(25 * DAY_MS)
  t.is((await authority.issue(WEB, 30 * DAY_MS)).notAfterMs, START_MS + 30 * DAY_MS)
  t.true(log.entries.some(({ event }) => event === 'authority.intermediate-ending'))
  clock.advance(5 * DAY_MS)
  t.regex(
    await refusal(t, authority.issue(WEB, DAY_MS)),
    /intermediate\.crt expired at .* replace it/,
  )
})

const damages: readonly (readonly [string, (path: string) => unknown, RegExp])[] = [
  [
    'key missing',
    (path) => rmSync(join(path, 'nodes/node-1/intermediate.key')),
    /no root\.key, and .*intermediate\.key is missing: put/,
  ],
  [
    'certificate missing',
    (path) => rmSync(join(path, 'nodes/node-1/intermediate.crt')),
    /intermediate\.crt is missing: put/,
  ],
  ['root missing', (path) => rmSync(join(path, 'root.crt')), /no valid root in .*: put the root/],
  [
    'another key',
    async (path) =>
      writeFileSync(join(path, 'nodes/node-1/intermediate.key'), keyToPem(await generateKey())),
    /intermediate\.key is not the key of/,
  ],
  [
    'garbage for a key',
    (path) => writeFileSync(join(path, 'nodes/node-1/intermediate.key'), 'x'),
    /intermediate\.key is not a private key in PEM/,
  ],
  [
    'garbage for a certificate',
    (path) => writeFileSync(join(path, 'nodes/node-1/intermediate.crt'), 'x'),
    /holds no certificate in PEM/,
  ],
  [
    'garbage in roots/',
    (path) => {
      mkdirSync(join(path, 'roots'))
      writeFileSync(join(path, 'roots/x.crt'), 'x')
    },
    /x\.crt holds no certificate/,
  ],
  [
    'a root for an intermediate',
    (path) => copyFileSync(join(path, 'root.crt'), join(path, 'nodes/node-1/intermediate.crt')),
    /must be an intermediate/,
  ],
]

for (const [name, damage, expected] of damages) {
  test(`an intermediate that was brought, ${name}: refused, nothing made`, async (t) => {
    const path = await brought(t)
    await damage(path)
    t.regex(await refusal(t, open(path)), expected)
    t.false(existsSync(join(path, 'root.key')))
  })
}

test('an intermediate of another root is refused', async (t) => {
  const path = await brought(t)
  const other = directory(t)
  await open(other)
  copyFileSync(join(other, 'root.crt'), join(path, 'root.crt'))
  t.regex(
    await refusal(t, open(path)),
    /does not lead to an accepted root: put the root that signed/,
  )
})

test('a leaf for an intermediate is refused: it may not sign', async (t) => {
  const path = directory(t)
  const issued = await (await open(path)).issue(WEB, DAY_MS)
  rmSync(join(path, 'root.key'))
  const node = join(path, 'nodes/node-1')
  writeFileSync(join(node, 'intermediate.crt'), issued.certificateChainPem)
  writeFileSync(join(node, 'intermediate.key'), Buffer.from(issued.keyPem), { mode: 0o600 })
  t.regex(await refusal(t, open(path)), /may not sign \(no CA bit\)/)
})

test('a root at the end of its file is not handed on to peers', async (t) => {
  const path = await brought(t)
  const node = join(path, 'nodes/node-1')
  const upper = readFileSync(join(node, 'intermediate.crt'), 'utf8')
  writeFileSync(
    join(node, 'intermediate.crt'),
    upper + readFileSync(join(path, 'root.crt'), 'utf8'),
  )
  const issued = await (await open(path)).issue(WEB, DAY_MS)
  t.is(certificatesOf(issued.certificateChainPem).length, 2)
})

test('a new node finds no key of the root and is told what to do', async (t) => {
  const path = await brought(t)
  t.regex(await refusal(t, open(path, { nodeName: 'node-2' })), /nodes\/node-2\/intermediate\.key/)
  t.false(existsSync(join(path, 'root.key')))
})

test('an intermediate without any root never leads to a root of our own', async (t) => {
  const path = await brought(t)
  rmSync(join(path, 'root.crt'))
  t.regex(await refusal(t, open(path, { nodeName: 'node-2' })), /no valid root/)
  t.false(existsSync(join(path, 'root.key')))
})
