// A UDP socket to one resolver, in the asker's network namespace: sends questions under IDs of its
// own and takes nothing for an answer but the answer to one of them, from that resolver.
// Source: RFC 5452 section 9.
import type { Socket } from 'node:dgram'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Address } from '../connection.ts'
import { isResponse, type Query } from './query.ts'
import { udpSocket } from './udp-socket.ts'
import { FLAG, HEADER_BYTES } from './wire.ts'

export interface Question {
  readonly query: Query
  /** The whole answer under the ID of the query. */
  readonly answered: (answer: Buffer) => void
  /** The resolver cannot be reached: nobody needs to wait. */
  readonly refused: () => void
}

export interface ResolverSocketParts {
  readonly kernel: Pick<Kernel, 'bindUdp' | 'closeFd'>
  /** 0 to 65535, not to be guessed. */
  readonly newId: () => number
  /** An answer to no question. */
  readonly onStray: () => void
}

export class ResolverSocket {
  readonly resolver: Address
  readonly #parts: ResolverSocketParts
  /** By ID. */
  readonly #questions = new Map<number, Question>()
  #socket: Socket | undefined
  #state: 'opening' | 'open' | 'stale' | 'useless' | 'closed' = 'opening'

  constructor(parts: ResolverSocketParts, resolver: Address) {
    this.#parts = parts
    this.resolver = resolver
  }

  /** The way it was connected by is no more: another socket may find one. */
  get isStale(): boolean {
    return this.#state === 'stale'
  }

  get size(): number {
    return this.#questions.size
  }

  /** Questions that come meanwhile wait. Never rejects: who asked is told. */
  async open(namespaceFd: number): Promise<void> {
    const { kernel } = this.#parts
    const isV6 = this.resolver.ip.includes(':')
    const address = isV6 ? '::' : '0.0.0.0'
    let fd: number
    try {
      fd = (await kernel.bindUdp({ address, port: 0, v6Only: isV6 }, namespaceFd)).fd
    } catch {
      this.#giveUp()
      return
    }
    if (this.#state === 'closed') {
      kernel.closeFd(fd)
      return
    }
    const socket = udpSocket(isV6 ? 'udp6' : 'udp4')
    socket.on('message', (message) => this.#received(message))
    // The resolver's host says that nobody listens: what was sent is lost.
    socket.on('error', () => this.#refuseAll())
    try {
      socket.bind({ fd })
    } catch {
      // Without the descriptor it would be a socket of this process's own namespace.
      kernel.closeFd(fd)
      this.#giveUp()
      return
    }
    this.#socket = socket
    socket.connect(this.resolver.port, this.resolver.ip, (...[error]: readonly unknown[]) => {
      if (error !== undefined) this.#giveUp()
      else this.#opened()
    })
  }

  ask(question: Question): void {
    if (this.#state === 'useless' || this.#state === 'stale') {
      question.refused()
      return
    }
    const id = this.#freeId()
    this.#questions.set(id, question)
    if (this.#state === 'open') this.#send(id, question)
  }

  forget(question: Question): void {
    for (const [id, held] of this.#questions) {
      if (held === question) this.#questions.delete(id)
    }
  }

  /** Nobody is told. */
  close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#questions.clear()
    this.#socket?.close()
  }

  #opened(): void {
    if (this.#state !== 'opening') return
    this.#state = 'open'
    for (const [id, question] of this.#questions) this.#send(id, question)
  }

  /** No namespace, or no route. */
  #giveUp(): void {
    if (this.#state === 'closed') return
    this.#state = 'useless'
    this.#refuseAll()
  }

  #freeId(): number {
    let id = this.#parts.newId()
    // Few of 65,536 are in use.
    while (this.#questions.has(id)) id = (id + 1) & 0xffff
    return id
  }

  #send(id: number, question: Question, isAgain = false): void {
    const message = Buffer.from(question.query.bytes)
    message.writeUInt16BE(id, 0)
    this.#socket?.send(message, (error) => {
      if (error === null || this.#questions.get(id) !== question) return
      // The error of an earlier question comes with the next call, which then sends nothing.
      if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED' && !isAgain) {
        this.#questions.delete(id)
        this.#refuseAll()
        this.#questions.set(id, question)
        this.#send(id, question, true)
        return
      }
      this.#questions.delete(id)
      if (this.#state === 'open') this.#state = 'stale'
      question.refused()
    })
  }

  /** The socket is connected: the kernel has looked at the source. */
  #received(answer: Buffer): void {
    const id = answer.length < HEADER_BYTES ? undefined : answer.readUInt16BE(0)
    const question = id === undefined ? undefined : this.#questions.get(id)
    if (id === undefined || question === undefined || !isAnswerTo(question.query, answer)) {
      this.#parts.onStray()
      return
    }
    this.#questions.delete(id)
    answer.writeUInt16BE(question.query.bytes.readUInt16BE(0), 0)
    question.answered(answer)
  }

  #refuseAll(): void {
    const questions = [...this.#questions.values()]
    this.#questions.clear()
    for (const question of questions) question.refused()
  }
}

/** Whether the answer is for this question. A failure may come without any. */
function isAnswerTo(query: Query, answer: Buffer): boolean {
  if (answer.length < HEADER_BYTES || !isResponse(answer)) return false
  const flags = answer.readUInt16BE(2)
  if (((flags ^ query.flags) & FLAG.opcode) !== 0) return false
  const questions = answer.readUInt16BE(4)
  if (questions === 0) return (flags & FLAG.rcode) !== 0
  return questions === 1 && sameQuestion(query, answer)
}

/** Letters of names are alike; resolvers may have changed them. */
function sameQuestion({ bytes, questionEnd }: Query, answer: Buffer): boolean {
  if (answer.length < questionEnd) return false
  const nameEnd = questionEnd - 4
  for (let at = HEADER_BYTES; at < nameEnd; at++) {
    if (lower(bytes[at] ?? 0) !== lower(answer[at] ?? 0)) return false
  }
  return bytes.compare(answer, nameEnd, questionEnd, nameEnd, questionEnd) === 0
}

/** Lengths of labels are below the letters. */
function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte
}
