// A door for questions on loopback, programs that ask there, and resolvers behind it.
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import type { ExecutionContext } from 'ava'
import { type ManualClock, manualClock } from '../../base/clock.ts'
import { seededRandom } from '../../base/random.ts'
import type { LocalPod } from '../../model/messages.ts'
import type { Tables } from '../../model/tables.ts'
import { localPod } from '../../model/testing/local-pod.ts'
import { DnsMeter } from '../../telemetry/dns-cells.ts'
import { proxyBoard } from '../../telemetry/proxy-cells.ts'
import type { Address } from '../connection.ts'
import { UdpDoor } from '../dns/udp-door.ts'
import { EndpointChoices } from '../outbound/endpoints.ts'
import { SecurityCache } from '../security-cache.ts'
import { TablesView } from '../tables-view.ts'
import { until } from '../testing/conditions.ts'
import { address, answerOf } from '../testing/dns.ts'
import { testKernel } from '../testing/kernel.ts'
import { service, tablesOf, workload } from '../testing/world.ts'

const kernel = testKernel()
export const WORKLOAD = 7

export const caller = workload('caller', '127.0.0.1')
export const other = workload('other', '127.0.0.1')
export const web = service('web', '10.96.0.1', [[80, 80]], [])
export const mesh = { workloads: [caller, other], services: [web] }

export interface Rig {
  readonly door: UdpDoor
  readonly clock: ManualClock
  readonly view: TablesView
  readonly pod: LocalPod
  /** By slot; who was asked there. */
  readonly resolvers: (Address & { workload?: number })[]
  count(name: string): number
  /** Port of a socket of the pod that is served. */
  open(slot?: 0 | 1 | 2, pod?: LocalPod, v6?: boolean): Promise<{ port: number; stop: () => void }>
}

export function rig(
  t: ExecutionContext,
  tables: Tables = tablesOf(1, mesh),
  ids?: () => number,
): Rig {
  const clock = manualClock(1_000_000)
  const board = proxyBoard(1)
  const view = new TablesView(clock)
  view.set(tables)
  const resolvers: (Address & { workload?: number })[] = []
  const random = seededRandom(3)
  const door = new UdpDoor({
    kernel,
    clock,
    random,
    view,
    choices: new EndpointChoices(),
    security: new SecurityCache(),
    meter: new DnsMeter(board, 0),
    newId: ids ?? (() => Math.floor(random() * 65_536)),
    asked: ({ slot }) => {
      const resolver = resolvers[slot]
      return resolver && { workload: WORKLOAD, ...resolver }
    },
  })
  const pod = podOf('caller')
  return {
    door,
    clock,
    view,
    pod,
    resolvers,
    count: (name) => board.total(`dns.${name}`),
    async open(slot = 0, of = pod, v6 = false) {
      const { fd, local } = await kernel.bindUdp({ address: v6 ? '::1' : '127.0.0.1', port: 0 })
      const end = door.serve(of, slot, fd)
      const stop = once1(() => {
        end()
        kernel.closeFd(fd)
      })
      t.teardown(stop)
      return { port: local.port, stop }
    },
  }
}

export function podOf(name: string): LocalPod {
  const { uid } = workload(name, '127.0.0.1')
  return localPod({ uid, namespaceFd: 0, addresses: ['127.0.0.1', 'fd00::1'], number: WORKLOAD })
}

function once1(task: () => void): () => void {
  let done = false
  return () => {
    if (!done) task()
    done = true
  }
}

/** A program's socket. */
export class Asker {
  readonly socket: Socket
  readonly answers: Buffer[] = []

  constructor(t: ExecutionContext, type: 'udp4' | 'udp6' = 'udp4') {
    this.socket = createSocket(type)
    this.socket.on('message', (answer) => this.answers.push(answer))
    t.teardown(once1(() => this.socket.close()))
  }

  send(to: number, message: Buffer, ip = '127.0.0.1'): void {
    this.socket.send(message, to, ip)
  }

  async answer(at = 0): Promise<Buffer> {
    await until(`answer ${at}`, () => this.answers.length > at)
    return this.answers[at] ?? Buffer.alloc(0)
  }
}

export interface Resolver extends Address {
  readonly asked: { readonly message: Buffer; readonly from: RemoteInfo }[]
  readonly socket: Socket
  close(): void
}

/** Answers every question by `answer`, if that gives anything. */
export async function resolver(
  t: ExecutionContext,
  answer: (message: Buffer, from: RemoteInfo) => Buffer | undefined = (asked) =>
    answerOf(asked, [address('x.example', '192.0.2.1')]),
  ip = '127.0.0.1',
): Promise<Resolver> {
  const socket = createSocket(ip.includes(':') ? 'udp6' : 'udp4')
  const asked: Resolver['asked'][number][] = []
  socket.on('message', (message, from) => {
    asked.push({ message, from })
    const said = answer(message, from)
    if (said !== undefined) socket.send(said, from.port, from.address)
  })
  socket.bind(0, ip)
  await once(socket, 'listening')
  const close = once1(() => socket.close())
  t.teardown(close)
  return { ip, port: socket.address().port, asked, socket, close }
}
