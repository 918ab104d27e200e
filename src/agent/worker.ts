// A data-plane worker: builds the data plane and does what main tells it. Decides nothing.
import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../base/clock.ts'
import type { Log, LogFields } from '../base/log.ts'
import { systemRandom } from '../base/random.ts'
import { unreachable } from '../base/result.ts'
import { TablesStore } from '../compile/apply-patch.ts'
import { IdentityStore } from '../identity/present/identity-store.ts'
import type { WorkerMapIds } from '../kernel/datapath.ts'
import { nativeKernel } from '../kernel/native.ts'
import { rootListens } from '../kernel/root-listeners.ts'
import { openWorkerViews } from '../kernel/worker-views.ts'
import type { FromWorker, ToWorker } from '../model/messages.ts'
import { DataPlane } from '../proxy/data-plane.ts'
import { openAccessLog } from '../telemetry/access-log.ts'
import { proxyBoard } from '../telemetry/proxy-cells.ts'

export interface WorkerData {
  readonly worker: number
  readonly nodeName: string
  readonly accessLog: string
  readonly heapMaxMb: number
  readonly maps: WorkerMapIds
  readonly workers: number
  /** Buffer of the board that every worker counts on, each in its own row. */
  readonly cells: SharedArrayBuffer
}

function run(port: NonNullable<typeof parentPort>, data: WorkerData): void {
  const send = (message: FromWorker): void => port.postMessage(message)
  const kernel = nativeKernel()
  const views = openWorkerViews(kernel, data.maps)
  const accessLog = openAccessLog(data.accessLog)
  const identities = new IdentityStore()
  const plane = new DataPlane(
    {
      kernel,
      identities,
      originStorage: views.origins,
      decodeOrigin: views.decodeOrigin,
      portOwner: views.portOwner,
      portListener: views.portListener,
      heldByRoot: rootListens,
      asked: views.asked,
      accessLog,
      log: messageLog(send),
      clock: systemClock,
      random: systemRandom,
      cells: proxyBoard(data.workers, data.cells),
    },
    { worker: data.worker },
  )
  const stop = async (): Promise<void> => {
    await plane.stop()
    await accessLog.close()
    views.close()
    port.close()
  }
  const held: Held = { plane, identities, tables: new TablesStore(), send, stop }
  // A message that cannot be done is a broken invariant: the worker ends and is replaced.
  port.on('message', (message: ToWorker) => {
    obey(message, held).then(
      (answer) => {
        if (answer !== undefined) send(answer)
      },
      (error) => {
        setImmediate(() => {
          throw error
        })
      },
    )
  })
  send({ kind: 'ready' })
}

interface Held {
  readonly plane: DataPlane
  readonly identities: IdentityStore
  readonly tables: TablesStore
  readonly send: (message: FromWorker) => void
  readonly stop: () => Promise<void>
}

/** Does what main says; resolves with the answer, if the message has one. */
async function obey(message: ToWorker, held: Held): Promise<FromWorker | undefined> {
  const { plane, identities } = held
  switch (message.kind) {
    case 'patch': {
      const next = held.tables.receive(message.patch)
      if (next === undefined) return undefined
      plane.setTables(next)
      return { kind: 'applied', version: next.version }
    }
    case 'listen':
      plane.listen(message.pod, message.listeners)
      return { kind: 'listening', uid: message.pod.uid }
    case 'unlisten':
      await plane.unlisten(message.uid, message.reason)
      return { kind: 'unlistened', uid: message.uid }
    case 'drain-backlog':
      await plane.drainBacklog(message.pod, message.listeners)
      return { kind: 'backlog-drained', uid: message.pod.uid }
    case 'identity': {
      identities.set(message.material)
      const { id, serial } = message.material
      return { kind: 'identity-held', id, serial }
    }
    case 'forget-identity':
      identities.forget(message.id)
      return undefined
    case 'recheck':
      return { kind: 'rechecked', sequence: message.sequence, ended: plane.recheck() }
    case 'survey':
      for await (const slice of plane.survey(message.connectionsMax)) {
        held.send({ kind: 'surveyed', sequence: message.sequence, slice })
      }
      return undefined
    case 'drain':
      return { kind: 'drained', open: await plane.drain(message.deadlineMs) }
    case 'stop':
      await held.stop()
      return undefined
    default:
      return unreachable(message)
  }
}

function messageLog(send: (message: FromWorker) => void): Log {
  const at =
    (level: keyof Log) =>
    (event: string, fields: LogFields = {}) =>
      send({ kind: 'log', level, event, fields: { ...fields } })
  return { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug') }
}

if (parentPort !== null) run(parentPort, workerData as WorkerData)
