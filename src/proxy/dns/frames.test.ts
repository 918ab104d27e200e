import test from 'ava'
import fc from 'fast-check'
import { FrameReader, frame } from './frames.ts'

const messages = fc.array(fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes)))
const cuts = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1 })

test('messages come out as they went in, however they are cut', (t) => {
  fc.assert(
    fc.property(messages, cuts, (messages, cuts) => {
      const stream = Buffer.concat(messages.map(frame))
      const reader = new FrameReader()
      const read: Buffer[] = []
      for (let at = 0, n = 0; at < stream.length; n++) {
        const end = at + (cuts[n % cuts.length] ?? 1)
        read.push(...reader.read(Buffer.from(stream.subarray(at, end))))
        at = end
      }
      t.deepEqual(read, messages)
    }),
  )
  t.pass()
})

test('the longest message in single bytes', (t) => {
  const message = Buffer.alloc(65_535, 'x')
  const reader = new FrameReader()
  const read = [...frame(message)].flatMap((byte) => reader.read(Buffer.from([byte])))
  t.is(read.length, 1)
  t.true(read[0]?.equals(message))
})
