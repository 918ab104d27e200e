import { mkdir, mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { formatIssue } from '../api/print-issue.ts'
import { systemClock } from '../base/clock.ts'
import { silentLog } from '../base/log.ts'
import { FileSource, type FileUpdate, loadDirectory } from './file-source.ts'

const account = (name: string) =>
  `apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: ${name}\n`
const BROKEN_ACCOUNT = 'apiVersion: v1\nkind: ServiceAccount\nmetadata: {}\n'
const policy = (action: string) =>
  `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: p }\nspec: { action: ${action} }\n`

const names = ({ world }: FileUpdate) => world.ServiceAccount.map(({ name }) => name)

async function temporary(t: ExecutionContext, files: Readonly<Record<string, string>>) {
  const root = await mkdtemp(join(tmpdir(), 'weft-files-'))
  t.teardown(() => rm(root, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) await put(join(root, name), text)
  return root
}

/** As users should: beside, then over. */
async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(`${path}.part`, text)
  await rename(`${path}.part`, path)
}

async function watching(t: ExecutionContext, directory: string) {
  const updates: FileUpdate[] = []
  let wake = () => {}
  const source = new FileSource(
    {
      log: silentLog,
      clock: systemClock,
      onChange: (update) => {
        updates.push(update)
        wake()
      },
    },
    { directory, debounceMs: 5 },
  )
  t.teardown(() => source.stop())
  const first = await source.start()
  const until = async (holds: (update: FileUpdate) => boolean): Promise<FileUpdate> => {
    for (;;) {
      const found = updates.findLast(holds)
      if (found !== undefined) return found
      // The watcher is not to keep a test process alive; the wait must.
      const alive = setInterval(() => {}, 1000)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
      clearInterval(alive)
    }
  }
  return { source, first, updates, until }
}

test('reads YAML and JSON below the directory, and nothing hidden, of another name, or in ca', async (t) => {
  const root = await temporary(t, {
    'a.yaml': account('a'),
    'deep/er/b.yml': account('b'),
    'c.json': JSON.stringify({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'c' } }),
    'deep/ca/d.yaml': account('d'),
    'ca/no.yaml': account('no'),
    '.hidden.yaml': account('no'),
    '.git/no.yaml': account('no'),
    'readme.md': 'no',
    'a.yaml.bak': account('no'),
  })
  const update = await loadDirectory(root)
  t.deepEqual(update.issues, [])
  t.deepEqual(names(update), ['a', 'b', 'c', 'd'])
})

test('a directory that does not exist is refused with the remedy', async (t) => {
  const update = await loadDirectory('/nonexistent/weft')
  t.true(update.refused)
  t.deepEqual(update.issues.map(formatIssue), [
    '/nonexistent/weft: error: does not exist; create it or name another directory',
  ])
})

test('links are followed, and a circle of them ends', async (t) => {
  const root = await temporary(t, { 'a.yaml': account('a') })
  const elsewhere = await temporary(t, { 'b.yaml': account('b') })
  await symlink(root, join(root, 'circle'))
  await symlink(join(elsewhere, 'b.yaml'), join(root, 'b.yaml'))
  await symlink('/nonexistent/c.yaml', join(root, 'dangling.yaml'))
  t.deepEqual(names(await loadDirectory(root)), ['a', 'b'])
})

test('a file of 10 MB is refused unread, and holds back a first start', async (t) => {
  const root = await temporary(t, { 'a.yaml': account('a'), 'big.yaml': '#'.repeat(10_485_760) })
  const update = await loadDirectory(root)
  t.regex(update.issues.map(formatIssue)[0] ?? '', /big\.yaml: error: is 10\.0 MiB large/)
  t.true(update.refused, 'nobody knows what it would have denied')
})

test('bytes that are no text are refused', async (t) => {
  const root = await temporary(t, {})
  await writeFile(join(root, 'a.yaml'), new Uint8Array([0xff, 0xfe, 0x80]))
  const update = await loadDirectory(root)
  t.regex(update.issues.map(formatIssue)[0] ?? '', /a\.yaml: error: is not text in UTF-8$/)
})

const firstStarts: readonly (readonly [string, string, boolean])[] = [
  ['a broken ServiceAccount', BROKEN_ACCOUNT, false],
  ['a broken AuthorizationPolicy', policy('CUSTOM'), true],
  ['a good policy beside a broken account', `${policy('DENY')}---\n${BROKEN_ACCOUNT}`, true],
  ['a broken Pod', 'apiVersion: v1\nkind: Pod\nmetadata: { name: x }\n', true],
  ['text that is no YAML', 'a: [', true],
]

for (const [title, text, refused] of firstStarts) {
  test(`a first start with ${title} ${refused ? 'is refused whole' : 'leaves it out'}`, async (t) => {
    const root = await temporary(t, { 'a.yaml': account('a'), 'b.yaml': text })
    const update = await loadDirectory(root)
    t.is(update.refused, refused)
    t.is(update.version, refused ? 0 : 1)
    t.deepEqual(names(update), refused ? [] : ['a'])
    t.true(update.issues.length > 0)
  })
}

test('an error keeps the last good content of its file, while others change', async (t) => {
  const root = await temporary(t, { 'a.yaml': account('a'), 'p.yaml': policy('DENY') })
  const { first, until } = await watching(t, root)
  await put(join(root, 'p.yaml'), policy('CUSTOM'))
  const broken = await until(({ issues }) => issues.length > 0)
  t.is(broken.world.AuthorizationPolicy[0]?.spec.action, 'deny')
  t.is(broken.world, first.world)
  t.is(broken.version, first.version)
  await put(join(root, 'a.yaml'), account('b'))
  const changed = await until((update) => names(update)[0] === 'b')
  t.is(changed.world.AuthorizationPolicy[0]?.spec.action, 'deny')
  t.is(changed.issues.length, 1)
  await put(join(root, 'p.yaml'), policy('ALLOW'))
  const mended = await until(({ issues }) => issues.length === 0)
  t.is(mended.world.AuthorizationPolicy[0]?.spec.action, 'allow')
})

test('a new broken file that may restrict holds back what comes with it', async (t) => {
  const root = await temporary(t, { 'a.yaml': account('a') })
  const { first, source, updates } = await watching(t, root)
  await put(join(root, 'p.yaml'), policy('CUSTOM'))
  await source.reload()
  await put(join(root, 'b.yaml'), account('b'))
  await source.reload()
  const held = updates.at(-1)
  t.is(held?.world, first.world)
  t.is(held?.version, first.version)
  const issues = held?.issues.map(formatIssue).join('\n') ?? ''
  t.regex(issues, /the configuration stays as it is until this file is correct/)
  await unlink(join(root, 'p.yaml'))
  await source.reload()
  t.deepEqual(names(updates.at(-1) ?? first), ['a', 'b'])
})

test('a removed file takes its resources along', async (t) => {
  const root = await temporary(t, { 'a.yaml': account('a'), 'sub/b.yaml': account('b') })
  const { until } = await watching(t, root)
  await rm(join(root, 'sub'), { recursive: true })
  t.deepEqual(names(await until((update) => names(update).length === 1)), ['a'])
  await put(join(root, 'sub/b.yaml'), account('c'))
  t.deepEqual(names(await until((update) => names(update)[1] === 'c')), ['a', 'c'])
  await put(join(root, 'sub/b.yaml'), account('d'))
  t.deepEqual(names(await until((update) => names(update)[1] === 'd')), ['a', 'd'])
})

test('a swap of linked directories, as Kubernetes does it, is one change', async (t) => {
  const root = await temporary(t, { '..1/a.yaml': account('old'), '..1/b.yaml': account('old-b') })
  await symlink('..1', join(root, '..data'))
  for (const name of ['a.yaml', 'b.yaml']) await symlink(`..data/${name}`, join(root, name))
  const { first, updates, until } = await watching(t, root)
  t.deepEqual(names(first), ['old', 'old-b'])
  await put(join(root, '..2/a.yaml'), account('new'))
  await put(join(root, '..2/b.yaml'), account('new-b'))
  await symlink('..2', join(root, '..tmp'))
  await rename(join(root, '..tmp'), join(root, '..data'))
  t.deepEqual(names(await until((update) => names(update)[0] === 'new')), ['new', 'new-b'])
  t.is(updates.length, 1)
})

test('the same content written again changes nothing', async (t) => {
  const root = await temporary(t, { 'a.yaml': account('a') })
  const { source, updates } = await watching(t, root)
  await put(join(root, 'a.yaml'), account('a'))
  await source.reload()
  t.deepEqual(updates, [])
})

test('the directory itself going away keeps what was good', async (t) => {
  const root = await temporary(t, { 'a.yaml': account('a') })
  const { source, first, updates } = await watching(t, root)
  await rename(root, `${root}.gone`)
  t.teardown(() => rm(`${root}.gone`, { recursive: true, force: true }))
  await source.reload()
  t.is(updates.at(-1)?.world, first.world)
  t.regex(updates.at(-1)?.issues.map(formatIssue)[0] ?? '', /does not exist/)
  await rename(`${root}.gone`, root)
  await source.reload()
  t.deepEqual(updates.at(-1)?.issues, [])
})
