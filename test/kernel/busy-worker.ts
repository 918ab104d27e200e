// A worker that does everything the addon offers at once, until it is terminated in the middle.
import net from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
import type { Rig } from '../../src/kernel/compliance/rig.ts'
import { load, member } from '../../src/kernel/compliance/rig.ts'
import { nativeKernel } from '../../src/kernel/native.ts'

interface Data {
  readonly sample: Uint8Array
  readonly namespace: string
  readonly blackhole: string
  readonly unixPath: string
}

const { sample, namespace: path, blackhole, unixPath } = workerData as Data
const kernel = nativeKernel()
const namespace = await kernel.openNamespace(path)
const object = load({ kernel, sample } as Rig)
kernel.readRing(member(object.maps, 'sample_ring'), () => {})
const link = member(object.programs, 'sample_iter').attachIter()
const unix = kernel.unixListen(unixPath, 'seqpacket')
unix.onConnection((channel) => channel.onMessage(() => {}))
const channel = await kernel.unixConnect(unixPath, 'seqpacket')

// The listener would outlive the thread: it is the parent's.
const { listenerFd, port } = workerData as { listenerFd: number; port: number }
kernel.accept(listenerFd, { batchMax: 4 }, (batch) => {
  for (const { fd } of batch) adopt(fd).resume()
})
const target = { address: '127.0.0.1', port, timeoutMs: 60_000 }
void kernel.connect({ ...target, address: blackhole }, namespace.fd).catch(() => {})
for (let at = 0; ; at++) {
  if (at === 2) parentPort?.postMessage('busy')
  const clients = await Promise.all([
    kernel.connect(target, namespace.fd),
    kernel.connect(target, namespace.fd),
    kernel.readIter(link, namespace.fd),
    channel.send(Buffer.from('message')),
  ])
  for (const client of clients.slice(0, 2)) adopt((client as { fd: number }).fd).destroy()
}

function adopt(fd: number): net.Socket {
  return new net.Socket({ fd }).on('error', () => {})
}
