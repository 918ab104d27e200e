// One screenful of the view, as lines with a style each: who answers, the sums, what is wrong, the
// table. Pure.
import type { Status } from '../../admin/shapes.ts'
import { compact, duration, printable, rate } from './figures.ts'
import { type Look, topRows } from './rows.ts'
import { tableLines } from './table.ts'

export type LineStyle = 'plain' | 'title' | 'head' | 'warn' | 'bad' | 'quiet'

export interface Line {
  readonly text: string
  readonly style: LineStyle
}

export interface Scene {
  readonly now: Look
  readonly before: Look | undefined
  readonly past: Look | undefined
  readonly statuses: readonly Status[]
  /** What agents that do not answer are said to be. */
  readonly silent: readonly string[]
  readonly isPaused: boolean
  /** What the first line begins with. */
  readonly title: string
}

export interface Size {
  readonly columns: number
  /** Undefined: as many as there are. */
  readonly rows?: number
}

export function screenful(scene: Scene, size: Size): readonly Line[] {
  const rows = topRows(scene.now, scene.before, scene.past)
  const above = [...titles(scene), sums(scene, rows), ...warnings(scene)]
  const table = tableLines(rows, size.columns)
  const [head = '', ...body] = table
  const room = Math.max(1, (size.rows ?? Number.POSITIVE_INFINITY) - above.length - 3)
  const shown = body.slice(0, room)
  const styled = shown.map((text, at): Line => {
    const row = rows[at]
    if (row !== undefined && row.failedLately > 0) return { text, style: 'bad' }
    const isIdle = row?.open === 0 && (row.sentRate ?? 0) + (row.receivedRate ?? 0) === 0
    return { text, style: isIdle ? 'quiet' : 'plain' }
  })
  const lines: Line[] = [...above, { text: '', style: 'plain' }, { text: head, style: 'head' }]
  lines.push(...styled)
  if (body.length > shown.length) {
    lines.push({ text: `and ${body.length - shown.length} more`, style: 'quiet' })
  }
  if (rows.length === 0) lines.push({ text: 'nobody has talked to anybody yet', style: 'quiet' })
  return lines.map(({ text, style }) => ({ text: text.slice(0, size.columns), style }))
}

function titles({ title, now, statuses, isPaused }: Scene): readonly Line[] {
  const agents = now.map(({ node }) => {
    const status = statuses.find((each) => each.node === node)
    return status === undefined ? node : `${node} (up ${duration(status.uptimeMs)})`
  })
  const paused = isPaused ? ' - PAUSED' : ''
  const text = `${title} - ${agents.length === 1 ? 'node' : 'nodes'} ${agents.join(', ')}${paused}`
  return [{ text: printable(text), style: 'title' }]
}

function sums({ now }: Scene, rows: ReturnType<typeof topRows>): Line {
  const sum = (of: (row: (typeof rows)[number]) => number): number =>
    rows.reduce((total, row) => total + of(row), 0)
  const isMoving = rows.some(({ sentRate }) => sentRate !== undefined)
  const others = now.reduce((total, { others }) => total + (others?.open ?? 0), 0)
  const parts = [
    `${compact(sum(({ open }) => open) + others)} open`,
    `${compact(sum(({ opened }) => opened))} in all`,
    ...(isMoving ? [`out ${rate(sum((row) => row.sentRate ?? 0))} B/s`] : []),
    ...(isMoving ? [`in ${rate(sum((row) => row.receivedRate ?? 0))} B/s`] : []),
    `${compact(sum(({ failed }) => failed))} failed`,
  ]
  return { text: `connections: ${parts.join(', ')}`, style: 'plain' }
}

function warnings({ now, statuses, silent }: Scene): readonly Line[] {
  const said: string[] = [...silent]
  for (const { node, silentWorkers, others, flowsLeftOut } of now) {
    if (silentWorkers.length > 0) {
      said.push(`${node}: workers ${silentWorkers.join(', ')} are too busy to answer`)
    }
    if (others !== undefined) {
      said.push(
        `${node}: ${others.opened} connections of too many different pairs are not told apart`,
      )
    }
    if (flowsLeftOut > 0) said.push(`${node}: ${flowsLeftOut} pairs are left out`)
  }
  for (const { node, config, workers, certificates } of statuses) {
    if (config.state === 'last-good') {
      const why = config.refusal ?? config.issues[0]?.text ?? ''
      said.push(`${node}: the last good configuration is in force: ${why}`)
    }
    const missing = workers.wanted - workers.alive.length
    if (missing > 0) said.push(`${node}: ${missing} of ${workers.wanted} workers are down`)
    if (certificates.failing > 0) said.push(`${node}: ${certificates.failing} certificates fail`)
  }
  return said.map((text) => ({ text: printable(text), style: 'warn' }))
}
