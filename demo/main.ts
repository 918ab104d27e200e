// The main job, shown: two nodes with an agent each, five unmodified programs that call each
// other, every byte between the nodes encrypted under their identities, and proof of it.
// `--once`: print the table, clean up, exit 0 only if all is well. Otherwise the shop stays open
// until Ctrl-C, and on a terminal one sees who talks to whom.
import { randomBytes } from 'node:crypto'
import { liveView, wantsColours } from '../src/cli/top/live-view.ts'
import type { Recording } from '../test/lab/capture.ts'
import { Lab } from '../test/lab/lab.ts'
import { edgeRows, formatTable } from './report.ts'
import { Shop } from './shop/shop.ts'

const REQUESTS = 200

/** Words that a reader of the wire would look for. */
const READABLE = ['GET /products', 'HTTP/1.1', '7 of book', 'cart: 7']

const say = (text: string): void => void process.stdout.write(`${text}\n`)

async function main(once: boolean): Promise<number> {
  const interrupted = new Promise<void>((resolve) => {
    // Before the lab's own handlers, which would end the process at once.
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
  })
  const lab = await Lab.open({ ownSignals: false })
  const secret = `secret-${randomBytes(12).toString('hex')}`
  const shop = new Shop(lab, secret)
  try {
    say('weft: two nodes, an agent on each, and a shop of five programs that know no mesh ...')
    await shop.start()
    const faults = await prove(lab, shop, secret)
    if (!once && faults.length === 0) {
      if (process.stdout.isTTY) await watch(shop, interrupted)
      else await keepRunning(shop, interrupted)
    }
    return faults.length === 0 ? 0 : 1
  } finally {
    await shop.stop()
    await lab.close()
  }
}

async function prove(lab: Lab, shop: Shop, secret: string): Promise<readonly string[]> {
  const capture = await lab.capture()
  await sendControl(lab, `control ${secret}`)
  await shop.buy(REQUESTS)
  const recording = await capture.stop()
  const log = await settledLog(lab, shop)
  const rows = edgeRows(shop.calls(), log, REQUESTS)
  say(`\n${formatTable(rows)}\n`)
  const faults = [...rows.flatMap((row) => row.faults), ...wireFaults(recording, secret)]
  for (const fault of faults) say(`FAULT ${fault}`)
  if (faults.length === 0) {
    const bytes = recording.packets.reduce((sum, packet) => sum + packet.payload.length, 0)
    say(
      `wire: ${recording.packets.length} packets, ${bytes} payload bytes between the nodes, ` +
        'and not one byte of a request or answer is readable.',
    )
    say('all is well')
  }
  return faults
}

/** A word in plain text between the nodes, outside the mesh: a capture that misses it proves
 * nothing by silence. */
async function sendControl(lab: Lab, text: string): Promise<void> {
  const [from, to] = lab.nodes
  if (from === undefined || to === undefined) throw new Error('the lab has no two nodes')
  await from.exec(['socat', '-u', 'STDIN', `UDP4-SENDTO:${to.ip}:4000`], {
    input: Buffer.from(text),
  })
}

function wireFaults(recording: Recording, secret: string): readonly string[] {
  const faults: string[] = []
  if (recording.lost > 0) faults.push(`the capture lost ${recording.lost} packets`)
  if (recording.find(`control ${secret}`).length === 0) {
    faults.push('the capture does not see plain text, so its silence proves nothing')
  }
  const control = recording.find(`control ${secret}`)
  const isControl = (flow: string): boolean => control.includes(flow)
  for (const word of [secret, ...READABLE]) {
    const flows = recording.find(word).filter((flow) => !isControl(flow))
    if (flows.length > 0)
      faults.push(`"${word.slice(0, 6)}..." is readable on the wire: ${flows[0]}`)
  }
  const tunnels = recording.packets.filter(
    (packet) => packet.ports?.destination === 15008 || packet.ports?.source === 15008,
  )
  if (tunnels.length === 0) faults.push('nothing went through a tunnel')
  return faults
}

/** Entries are written when connections end; waits until no more come. */
async function settledLog(lab: Lab, shop: Shop) {
  let before = -1
  await lab.waitUntil(async () => {
    const now = shop.accessLog().length
    const settled = now > 0 && now === before
    before = now
    if (!settled) await new Promise((resolve) => setTimeout(resolve, 300))
    return settled
  }, 'the access logs to settle')
  return shop.accessLog()
}

/** The view of `weft top` over both nodes, while the shopper buys. */
async function watch(shop: Shop, interrupted: Promise<void>): Promise<void> {
  const ended = new AbortController()
  void interrupted.then(() => ended.abort())
  const shopping = goShopping(shop, ended.signal)
  const { stdout, stdin, env } = process
  const terminal = { output: stdout, input: stdin, colours: wantsColours(stdout, env) }
  const options = { states: shop.states(), intervalMs: 1_000, title: 'weft: the shop' }
  await liveView(options, terminal, ended.signal)
  ended.abort()
  say('closing the shop ...')
  await shopping
}

async function goShopping(shop: Shop, signal: AbortSignal): Promise<void> {
  const ended = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
  while (!signal.aborted) {
    await Promise.race([ended, shop.buy(REQUESTS).catch(() => {})])
  }
}

/** Keeps shopping, so that there is something to look at, until it is interrupted. */
async function keepRunning(shop: Shop, interrupted: Promise<void>): Promise<void> {
  say('the shop stays open; Ctrl-C ends it and leaves nothing behind')
  let over = false
  void interrupted.then(() => {
    over = true
  })
  for (let round = 1; !over; round++) {
    await Promise.race([interrupted, shop.buy(5, `shopper-${round}`).catch(() => {})])
    await Promise.race([interrupted, new Promise((resolve) => setTimeout(resolve, 5_000))])
  }
}

process.exitCode = await main(process.argv.includes('--once'))
