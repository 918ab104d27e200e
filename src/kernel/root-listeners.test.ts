import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { rootListens } from './root-listeners.ts'

const HEAD =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n'

/** As the kernel writes a socket: local address and port, state, user. */
function line(local: string, state: string, user: number): string {
  const remote = '0'.repeat(local.indexOf(':'))
  return `   0: ${local} ${remote}:0000 ${state} 00000000:00000000 00:00000000 00000000  ${user}        0 22 1\n`
}

function lists(t: ExecutionContext, ...files: readonly string[]): string[] {
  const directory = mkdtempSync(join(tmpdir(), 'weft-listeners-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  return files.map((text, at) => {
    const file = join(directory, String(at))
    writeFileSync(file, HEAD + text)
    return file
  })
}

const ANY = '00000000:1BBC'
const OWN = '0100000A:1BBC'
const ANY6 = `${'0'.repeat(32)}:1BBC`
const MAPPED = '0000000000000000FFFF00000100000A:1BBC'

for (const [name, lines, expected] of [
  ['nobody listens', '', false],
  ['root, at every address', line(ANY, '0A', 0), true],
  ['root, at the address', line(OWN, '0A', 0), true],
  ['root, at a v4-mapped one', line(MAPPED, '0A', 0), true],
  ['root, at every address of either family', line(ANY6, '0A', 0), true],
  ['root, elsewhere', line('0200000A:1BBC', '0A', 0), false],
  ['root, at another port', line('00000000:1BBD', '0A', 0), false],
  ['somebody else', line(ANY, '0A', 1000), false],
  ['somebody else beside root', line(ANY6, '0A', 0) + line(OWN, '0A', 1000), false],
  ['a connection is no listener', line(OWN, '01', 0), false],
] as const) {
  test(`${name}: ${expected}`, (t) => {
    t.is(rootListens('10.0.0.1', 7100, lists(t, lines, '')), expected)
    t.is(rootListens('10.0.0.1', 7100, lists(t, '', lines)), expected)
  })
}

test('many listeners, more than are read at once', (t) => {
  const others = line('00000000:0001', '0A', 1000).repeat(2_000)
  t.true(rootListens('10.0.0.1', 7100, lists(t, others + line(ANY, '0A', 0))))
})

test('this very machine', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { readonly port: number }
  t.is(rootListens('127.0.0.1', port), process.getuid?.() === 0)
  server.close()
})
