// A worker for tests of the pool: answers what a data-plane worker answers, and dies when told.
import { parentPort } from 'node:worker_threads'
import type { FromWorker, ToWorker } from '../../model/messages.ts'

const send = (message: FromWorker): void => parentPort?.postMessage(message)

parentPort?.on('message', (message: ToWorker) => {
  switch (message.kind) {
    case 'recheck':
      return send({ kind: 'rechecked', sequence: message.sequence, ended: 0 })
    case 'drain-backlog':
      return setTimeout(() => send({ kind: 'backlog-drained', uid: message.pod.uid }), 20)
    case 'unlisten':
      // Stands for a defect.
      throw new Error('told to die')
    case 'stop':
      return parentPort?.close()
    default:
      return undefined
  }
})
send({ kind: 'ready' })
