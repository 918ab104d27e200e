// An application's end of a connection, for tests of the pipeline.
import { connect, type Socket } from 'node:net'
import { until } from './conditions.ts'

export class Client {
  readonly socket: Socket
  readonly chunks: Buffer[] = []
  bytes = 0
  ended = false
  error: string | undefined
  closed = false

  constructor(ip: string, port: number, localAddress?: string) {
    const from = localAddress === undefined ? {} : { localAddress }
    this.socket = connect({ host: ip, port, allowHalfOpen: true, ...from })
    this.socket.on('data', (chunk) => {
      this.chunks.push(chunk as Buffer)
      this.bytes += chunk.length
    })
    this.socket.on('end', () => {
      this.ended = true
    })
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.error = error.code
    })
    this.socket.on('close', () => {
      this.closed = true
    })
  }

  get body(): Buffer {
    return Buffer.concat(this.chunks)
  }

  async over(): Promise<void> {
    await until('the connection to end', () => this.ended || this.closed)
  }

  /** Sends all and half-closes; resolves with everything that came back. */
  async ask(body: Buffer | string): Promise<Buffer> {
    this.socket.end(body)
    await this.over()
    return this.body
  }
}
