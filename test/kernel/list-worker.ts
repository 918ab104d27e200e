// A worker that passes lists to the addon without a pause, until it is terminated while one is read.
import { parentPort, workerData } from 'node:worker_threads'
import { nativeKernel } from '../../src/kernel/native.ts'

const LIST = [0, 1, 2, 0, 1, 2, 0, 1, 2]
const MESSAGE = Buffer.from('message')

const { unixPath } = workerData as { readonly unixPath: string }
const kernel = nativeKernel()
const unix = kernel.unixListen(unixPath, 'seqpacket')
unix.onConnection((channel) => channel.onMessage(() => {}))
const channel = await kernel.unixConnect(unixPath, 'seqpacket')
parentPort?.postMessage('busy')
for (;;) channel.send(MESSAGE, LIST).catch(() => {})
