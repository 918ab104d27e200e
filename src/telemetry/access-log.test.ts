import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import type { AccessEntry } from '../model/access-entry.ts'
import { openAccessLog } from './access-log.ts'
import { ProxyMeter, proxyBoard } from './proxy-cells.ts'

const ENTRY: AccessEntry = {
  direction: 'outbound',
  path: 'tunnel',
  reason: 'completed',
  flag: '-',
  source: { ip: '10.0.0.1', port: 40_000, workload: 'a', namespace: 'default' },
  destination: { ip: '10.96.0.1', port: 80, service: 'web' },
  sentBytes: 5,
  receivedBytes: 7,
  durationMs: 3,
  version: 1,
}

test('writes one JSON line per entry and has them all after close', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-access-'))
  const path = join(directory, 'logs', 'access.log')
  const log = openAccessLog(path)
  for (let at = 0; at < 500; at++) log.write({ ...ENTRY, durationMs: at })
  await log.close()
  log.write(ENTRY)
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n')
  t.is(lines.length, 500)
  const line = JSON.parse(lines[499] ?? '')
  t.is(line.event, 'connection')
  t.is(line.durationMs, 499)
  t.deepEqual(line.source, ENTRY.source)
  t.regex(line.time, /^\d{4}-\d\d-\d\dT/)
  t.is(log.dropped, 0)
  rmSync(directory, { recursive: true })
})

test('ends cleanly into a pipe, which has no disk to reach', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-access-'))
  const path = join(directory, 'pipe')
  execFileSync('mkfifo', [path])
  const reader = spawn('cat', [path])
  let text = ''
  reader.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  const ended = new Promise((resolve) => reader.on('close', resolve))
  const log = openAccessLog(path)
  log.write(ENTRY)
  await log.close()
  await ended
  t.is(JSON.parse(text).event, 'connection')
  rmSync(directory, { recursive: true })
})

test('flushing does not wait for the batch to fill', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-access-'))
  const path = join(directory, 'access.log')
  const log = openAccessLog(path)
  log.write(ENTRY)
  await log.flush()
  t.is(readFileSync(path, 'utf8').trimEnd().split('\n').length, 1)
  await log.close()
  rmSync(directory, { recursive: true })
})

test('the meter counts connections, endings by flag and bytes', (t) => {
  const board = proxyBoard(2)
  const meter = new ProxyMeter(board, 1)
  meter.opened('outbound')
  meter.opened('outbound')
  meter.closed(ENTRY)
  t.is(board.total('connections_active.outbound'), 1)
  t.is(board.total('connections_opened.outbound'), 2)
  t.is(board.total('connections_closed.outbound.-'), 1)
  t.is(board.total('bytes_received.outbound'), 7)
  t.is(board.total('connections_opened.inbound'), 0)
})
