// What documents promise must be there, and what belongs to no reader must not.
import { execFileSync } from 'node:child_process'
import { dirname, posix } from 'node:path'
import test from 'ava'
import { exists, files, ROOT, read, type SourceFile } from './tree.ts'

const manifest = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
const NAMES = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md']
const documents = files(...NAMES, 'config/**/*.md', 'docs/**/*.md')

/** Everything in backticks or in a fenced block. */
function commandsOf({ text }: SourceFile): string[] {
  const fenced = [...text.matchAll(/^```\w*\n(.*?)^```/gms)].map((match) => match[1] ?? '')
  const inline = [...text.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? '')
  return [...fenced.join('\n').split('\n'), ...inline]
}

test('the documents a newcomer looks for exist', (t) => {
  for (const name of [...NAMES, 'LICENSE']) t.true(exists(name), name)
})

test('npm commands in documents exist', (t) => {
  for (const document of documents) {
    for (const command of commandsOf(document)) {
      for (const [, name = ''] of command.matchAll(/\bnpm run ([\w:-]+)/g)) {
        t.true(name in manifest.scripts, `${document.path}: npm run ${name}`)
      }
    }
  }
  t.true('test' in manifest.scripts && 'start' in manifest.scripts)
})

test('weft commands in documents exist', (t) => {
  const cli = files('src/cli/**/*.ts')
    .map(({ text }) => text)
    .join('\n')
  const known = new Set(
    [...cli.matchAll(/(?:\.command|new Command)\(\s*['"]([\w-]+)/g)].map((match) => match[1] ?? ''),
  )
  for (const document of documents) {
    for (const command of commandsOf(document)) {
      const [, name] = /^(?:\$ |# )?(?:sudo )?(?:npx )?weft ([a-z][\w-]*)/.exec(command) ?? []
      if (name !== undefined) t.true(known.has(name), `${document.path}: weft ${name}`)
    }
  }
  t.true(known.has('agent'))
})

test('links and paths in documents lead somewhere', (t) => {
  for (const { path, text } of documents) {
    for (const [, target = ''] of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (/^\w+:/.test(target)) continue
      t.true(exists(posix.join(dirname(path), target)), `${path}: ${target}`)
    }
  }
  t.pass()
})

test('every npm script is a task of the runner', (t) => {
  const runner = read('scripts/run.mjs')
  for (const [name, command] of Object.entries(manifest.scripts)) {
    const [, task] = /^node scripts\/run\.mjs ([\w-]+)$/.exec(command) ?? []
    if (task !== undefined) t.regex(runner, new RegExp(`^  '?${task}'?: \\{`, 'm'), name)
    else t.true(exists(command.replace(/^node /, '')), name)
  }
})

// Joined here, so that this file does not find itself.
const PRIVATE = [
  ['/wo', 'rk/'],
  ['shared/', 'DESIGN'],
  ['DESIGN', '.md'],
  ['KERNEL', '.md'],
  ['PROTOCOLS', '.md'],
  ['ISTIO-API', '.md'],
  ['PERFORMANCE', '.md'],
  ['PEERS', '.md'],
  ['BRIEF', '.md'],
  ['registry.npmjs', '.org'],
  ['registry.npmmirror', '.com'],
  ['"reso', 'lved":'],
].map((parts) => parts.join(''))

function trackedFiles(): string[] {
  const listed = execFileSync('git', ['-c', 'safe.directory=*', 'ls-files', '-z'], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  return listed.split('\0').filter((path) => path !== '' && exists(path))
}

test('no file speaks of where it was written', (t) => {
  const tracked = exists('.git') ? trackedFiles() : files('**/*').map(({ path }) => path)
  t.true(tracked.length > 0)
  const found = tracked.flatMap((path) => {
    const text = read(path)
    return PRIVATE.filter((word) => text.includes(word)).map((word) => `${path}: ${word}`)
  })
  t.deepEqual(found, [])
})
