// Directories with an authority in them, for the tests of this room.
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { manualClock } from '../../base/clock.ts'
import { memoryLog } from '../../base/log.ts'
import type { SpiffeId } from '../../model/spiffe-id.ts'
import { type Authority, type AuthorityOptions, openAuthority } from '../issue/authority.ts'

export const START_MS = Date.UTC(2030, 0, 1)
export const DAY_MS = 86_400_000
export const WEB = 'spiffe://cluster.local/ns/shop/sa/web' as SpiffeId

export function directory(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'weft-authority-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

export function open(path: string, more: Partial<AuthorityOptions> = {}): Promise<Authority> {
  return openAuthority({
    directory: path,
    nodeName: 'node-1',
    trustDomain: 'cluster.local',
    clock: manualClock(START_MS),
    log: memoryLog(),
    ...more,
  })
}

export async function refusal(t: ExecutionContext, opening: Promise<unknown>): Promise<string> {
  const error = await t.throwsAsync(opening)
  t.is(Reflect.get(error ?? {}, 'code'), 'identity.authority')
  return error?.message ?? ''
}

export function fileOf(path: string, name: string): X509Certificate {
  return new X509Certificate(readFileSync(join(path, name)))
}

/** A directory in which `node-1` has its intermediate and the root's key is kept elsewhere. */
export async function brought(t: ExecutionContext): Promise<string> {
  const path = directory(t)
  await open(path)
  rmSync(join(path, 'root.key'))
  return path
}
