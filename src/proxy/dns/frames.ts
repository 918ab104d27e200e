// Messages in a stream: two bytes of length before each. Source: RFC 1035 section 4.2.2.

/** Takes what a stream brings and gives whole messages. Holds at most twice what it was given of
 * the message that is not whole yet. */
export class FrameReader {
  #held = Buffer.alloc(0)
  #length = 0

  /** The messages that are whole now, each in memory of its own or in that of `chunk`. */
  read(chunk: Buffer): readonly Buffer[] {
    const whole: Buffer[] = []
    let rest = chunk
    while (rest.length > 0) {
      if (this.#length === 0 && isWhole(rest)) {
        const end = 2 + rest.readUInt16BE(0)
        whole.push(rest.subarray(2, end))
        rest = rest.subarray(end)
        continue
      }
      // The length first, then as much as it says.
      const wanted = this.#length < 2 ? 2 : 2 + this.#held.readUInt16BE(0)
      const taken = Math.min(wanted - this.#length, rest.length)
      this.#append(rest.subarray(0, taken))
      rest = rest.subarray(taken)
      if (this.#length >= 2 && this.#length === 2 + this.#held.readUInt16BE(0)) {
        whole.push(this.#held.subarray(2, this.#length))
        this.#held = Buffer.alloc(0)
        this.#length = 0
      }
    }
    return whole
  }

  #append(bytes: Buffer): void {
    const length = this.#length + bytes.length
    if (length > this.#held.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#held.length))
      this.#held.copy(grown, 0, 0, this.#length)
      this.#held = grown
    }
    bytes.copy(this.#held, this.#length)
    this.#length = length
  }
}

function isWhole(bytes: Buffer): boolean {
  return bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)
}

export function frame(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(2 + message.length)
  framed.writeUInt16BE(message.length, 0)
  message.copy(framed, 2)
  return framed
}
