// Records packets on the wire between nodes with tcpdump, completely: an end mark is sent and
// waited for before the recording is read.
import { randomUUID } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { findBytes, type Packet, parsePcap } from './pcap.ts'
import { execIn, type Place, type Program, runIn } from './program.ts'
import { PYTHON } from './programs.ts'
import { waitUntil } from './wait.ts'

/** EtherType for local experiments (IEEE 802): nothing else of the lab uses it. */
const MARK_TYPE = 0x88b5

const SEND_FRAME =
  'import socket, sys; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); ' +
  's.bind((sys.argv[1], 0)); s.send(bytes.fromhex(sys.argv[2]))'

export interface CaptureSite extends Place {
  readonly device: string
}

/** A finished recording. */
export interface Recording {
  readonly packets: readonly Packet[]
  /** Packets that tcpdump could not keep up with; a proof of absence needs 0. */
  readonly lost: number
  /** Flows in which the bytes were readable, over packet borders too. */
  find(needle: string | Buffer): string[]
}

export class Capture {
  readonly file: string
  readonly #site: CaptureSite
  readonly #program: Program

  private constructor(site: CaptureSite, file: string, program: Program) {
    this.#site = site
    this.file = file
    this.#program = program
  }

  static async start(site: CaptureSite, directory: string, filter: string): Promise<Capture> {
    const file = join(directory, `${randomUUID()}.pcap`)
    const wanted = filter === '' ? [] : [`(${filter}) or ether proto ${MARK_TYPE}`]
    const program = await runIn(
      site,
      [
        // The shell opens the file, since tcpdump leaves root and the directory belongs to root;
        // asked to stay root (-Z root), Ubuntu's crashes.
        ...['sh', '-c', 'file=$1; shift; exec tcpdump "$@" > "$file"', 'capture', file],
        ...['-i', site.device, '-w', '-', '-U', '--immediate-mode', '-n'],
        // 64 MiB of buffer, because two CPUs are few.
        ...['-B', '65536', '-s', '0', ...wanted],
      ],
      { waitFor: 'listening on' },
    )
    return new Capture(site, file, program)
  }

  /** Ends the recording after everything sent so far is in it, and reads it. */
  async stop(): Promise<Recording> {
    const mark = Buffer.from(`end of capture ${randomUUID()}`)
    let seenBytes = 0
    await waitUntil(async () => {
      await this.#sendMark(mark)
      // Only the new end of a large file is worth reading again.
      const size = statSync(this.file).size
      const tail = readFileSync(this.file).subarray(Math.max(0, seenBytes - mark.length))
      seenBytes = size
      return tail.includes(mark)
    }, 'the end mark in the capture')
    this.#program.kill('SIGINT')
    await this.#program.exited
    const packets = parsePcap(readFileSync(this.file)).filter(
      ({ frame }) => frame.length < 14 || frame.readUInt16BE(12) !== MARK_TYPE,
    )
    const lost = Number(/(\d+) packets dropped by kernel/.exec(this.#program.stderr)?.[1] ?? 'NaN')
    return { packets, lost, find: (needle) => findBytes(packets, needle) }
  }

  /** Straight to the device, so that it is seen on a cut link too. */
  #sendMark(mark: Buffer): Promise<unknown> {
    const addresses = Buffer.from('020000000001020000000002', 'hex')
    const type = Buffer.from([MARK_TYPE >> 8, MARK_TYPE & 255])
    const frame = Buffer.concat([addresses, type, mark]).toString('hex')
    return execIn(this.#site, [PYTHON, '-c', SEND_FRAME, this.#site.device, frame])
  }
}
