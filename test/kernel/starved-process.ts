// Run with few descriptors: takes them all, and tells what the addon does then.
import { closeSync, openSync } from 'node:fs'
import { until } from '../../src/kernel/compliance/rig.ts'
import { KernelError, type UnixChannel } from '../../src/kernel/kernel.ts'
import { nativeKernel } from '../../src/kernel/native.ts'

const kernel = nativeKernel()
const unixPath = `${process.argv[2]}/starved`
const listener = await kernel.listen({ address: '127.0.0.1', port: 0 })
const target = { address: '127.0.0.1', port: listener.local.port, timeoutMs: 5000 }
const clients = [await kernel.connect(target), await kernel.connect(target)]
const connections: UnixChannel[] = []
const unix = kernel.unixListen(unixPath, 'seqpacket')
unix.onConnection((channel) => connections.push(channel))
const sender = await kernel.unixConnect(unixPath, 'seqpacket')
await until(() => connections.length === 1)
await sender.send(Buffer.from('descriptors'), [listener.fd, listener.fd])

const nameOf = (error: unknown): string =>
  error instanceof KernelError ? error.errnoName : String(error)
const attempt = async (run: () => unknown): Promise<string> => {
  try {
    await run()
    return 'ok'
  } catch (error) {
    return nameOf(error)
  }
}
const taken: number[] = []
const takeAll = (): void => {
  try {
    for (;;) taken.push(openSync('/dev/null', 'r'))
  } catch {
    // Until there are none.
  }
}
takeAll()

const unixErrors: string[] = []
connections[0]?.onMessage(
  () => unixErrors.push('message'),
  (error) => unixErrors.push(nameOf(error)),
)
await until(() => unixErrors.length > 0)
takeAll()
const [listen, connect, duplicate] = [
  await attempt(() => kernel.listen({ address: '127.0.0.1', port: 0 })),
  await attempt(() => kernel.connect(target)),
  await attempt(() => kernel.duplicate(0)),
]

// One for the acceptor's own handle on the listener.
closeSync(taken.pop() ?? -1)
const acceptErrors: string[] = []
let accepted = 0
const acceptor = kernel.accept(
  listener.fd,
  { batchMax: 8, onError: (error) => acceptErrors.push(nameOf(error)) },
  (batch) => {
    accepted += batch.length
    for (const { fd } of batch) kernel.closeFd(fd)
  },
)
await until(() => acceptErrors.length > 0)
// Three rests long: it tries again, tells nothing more and does not spin.
const before = process.cpuUsage()
await new Promise((resolve) => setTimeout(resolve, 350))
const usedMs = process.cpuUsage(before).user / 1000
for (const fd of taken) closeSync(fd)
await until(() => accepted === clients.length)
acceptor.stop()

const result = {
  acceptErrors,
  acceptedAfter: accepted === clients.length,
  turnsWhileStarved: usedMs < 100 ? 'few' : `${usedMs} ms of CPU`,
  unixErrors,
  listen,
  connect,
  duplicate,
}
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0))
