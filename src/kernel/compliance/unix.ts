// Compliance: Unix sockets that carry messages and descriptors.
import type { UnixChannel, UnixMessage } from '../kernel.ts'
import { collector, type Rig, rejectsErrno, type Suite, throwsErrno } from './rig.ts'

async function pair(rig: Rig, path: string, type: 'seqpacket' | 'stream' = 'seqpacket') {
  const listener = rig.kernel.unixListen(path, type)
  const connections = collector<UnixChannel>()
  listener.onConnection(connections.add)
  const client = await rig.kernel.unixConnect(path, type)
  const server = await connections.next()
  const messages = collector<UnixMessage>()
  server.onMessage(messages.add)
  const close = (): void => {
    client.close()
    server.close()
    listener.close()
  }
  return { client, server, messages, close }
}

export const unixSuite: Suite = {
  async 'messages keep their bounds and their order'(t, rig) {
    const { client, server, messages, close } = await pair(rig, `${rig.scratch}/bounds`)
    const sent = ['one', 'two', 'x'.repeat(100_000)]
    await Promise.all(sent.map((text) => client.send(Buffer.from(text))))
    for (const text of sent) t.is(String((await messages.next()).bytes), text)
    const answers = collector<UnixMessage>()
    client.onMessage(answers.add)
    await server.send(Buffer.from('answer'))
    t.is(String((await answers.next()).bytes), 'answer')
    client.close()
    t.deepEqual(await messages.next(), { bytes: Buffer.alloc(0), fds: [] })
    close()
  },

  async 'more than the buffers hold waits for the reader'(t, rig) {
    const path = `${rig.scratch}/pressure`
    const listener = rig.kernel.unixListen(path, 'seqpacket')
    const connections = collector<UnixChannel>()
    listener.onConnection(connections.add)
    const client = await rig.kernel.unixConnect(path, 'seqpacket')
    const server = await connections.next()
    const sends = Array.from({ length: 64 }, (_, at) => client.send(Buffer.alloc(50_000, at)))
    const messages = collector<UnixMessage>()
    server.onMessage(messages.add)
    await Promise.all(sends)
    for (let at = 0; at < 64; at++) {
      const { bytes } = await messages.next()
      t.is(bytes.length, 50_000)
      t.is(bytes[0], at)
    }
    client.close()
    server.close()
    listener.close()
  },

  async 'a stream carries its bytes'(t, rig) {
    const { client, messages, close } = await pair(rig, `${rig.scratch}/stream`, 'stream')
    await client.send(Buffer.alloc(300_000, 7))
    let length = 0
    while (length < 300_000) length += (await messages.next()).bytes.length
    t.is(length, 300_000)
    close()
  },

  async 'descriptors travel and work at the other end'(t, rig) {
    const { kernel, scratch } = rig
    const { client, messages, close } = await pair(rig, `${scratch}/fds`)
    const listener = await kernel.listen({ address: '127.0.0.1', port: 0 })
    await client.send(Buffer.from('take'), [listener.fd, listener.fd])
    kernel.closeFd(listener.fd)
    const { bytes, fds } = await messages.next()
    t.is(String(bytes), 'take')
    t.is(fds.length, 2)
    const target = { address: '127.0.0.1', port: listener.local.port, timeoutMs: 5000 }
    const connected = await kernel.connect(target)
    for (const fd of [connected.fd, ...fds]) kernel.closeFd(fd)
    await rejectsErrno(t, 'ECONNREFUSED', () => kernel.connect(target))
    await rejectsErrno(t, 'EBADF', () => client.send(Buffer.from('x'), [listener.fd]))
    await rejectsErrno(t, 'EINVAL', () => client.send(Buffer.from('x'), Array(254).fill(0)))
    close()
  },

  async 'failures of Unix sockets have their errno'(t, rig) {
    const { kernel, scratch } = rig
    const path = `${scratch}/failures`
    const { client, server, close } = await pair(rig, path)
    throwsErrno(t, 'EADDRINUSE', () => kernel.unixListen(path, 'seqpacket'), /bind .*failures/)
    throwsErrno(t, 'ENOENT', () => kernel.unixListen(`${scratch}/no/such`, 'seqpacket'))
    await rejectsErrno(t, 'ENOENT', () => kernel.unixConnect(`${scratch}/none`, 'seqpacket'))
    await rejectsErrno(t, 'EPROTOTYPE', () => kernel.unixConnect(path, 'stream'))
    await rejectsErrno(t, 'EMSGSIZE', () => client.send(Buffer.alloc(1 << 20)))
    server.close()
    await rejectsErrno(t, 'EPIPE', () => client.send(Buffer.from('x')))
    client.close()
    await rejectsErrno(t, 'EBADF', () => client.send(Buffer.from('x')))
    close()
    await rejectsErrno(t, 'ECONNREFUSED', () => kernel.unixConnect(path, 'seqpacket'))
  },
}
