// Whether root listens at a port of this namespace: a service manager that holds the port of a
// service, whose program may not run yet. The kernel lists listeners before connections, so that
// only they are read, however many connections there are.
import { closeSync, openSync, readSync } from 'node:fs'
import { formatIp } from '../base/ip.ts'

const FILES = ['/proc/thread-self/net/tcp', '/proc/thread-self/net/tcp6']
const CHUNK_BYTES = 65_536
const LISTEN = '0A'

interface ListenerLine {
  readonly ip: string
  readonly port: number
  readonly user: number
}

/** Whether somebody listens there, at this address or at every one, and nobody but root does. */
export function rootListens(ip: string, port: number, files: readonly string[] = FILES): boolean {
  const there = files
    .flatMap((file) => listenersIn(file))
    .filter((each) => each.port === port && [ip, '0.0.0.0', '::'].includes(each.ip))
  return there.length > 0 && there.every(({ user }) => user === 0)
}

function listenersIn(file: string): ListenerLine[] {
  const fd = openSync(file, 'r')
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  const found: ListenerLine[] = []
  let rest = ''
  try {
    for (;;) {
      const bytes = readSync(fd, chunk)
      const lines = `${rest}${chunk.toString('latin1', 0, bytes)}`.split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const fields = line.trim().split(/\s+/)
        if (fields[3] === LISTEN) found.push(listenerOf(fields))
        else if (fields[0] !== 'sl') return found
      }
      if (bytes === 0) return found
    }
  } finally {
    closeSync(fd)
  }
}

/** `sl local_address rem_address st queues timer retransmits uid ...`; words of addresses are in
 * the byte order of this machine, which is little endian on all that we run on. */
function listenerOf(fields: readonly string[]): ListenerLine {
  const [address = '', port = ''] = (fields[1] ?? '').split(':')
  const bytes = Buffer.from(address, 'hex').swap32()
  const ip = bytes.length === 4 ? bytes.join('.') : formatIp(bytes)
  return { ip, port: Number.parseInt(port, 16), user: Number(fields[7]) }
}
