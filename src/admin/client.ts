// Asks the admin API of an agent, over its Unix socket.
import { request } from 'node:http'
import { join } from 'node:path'
import { MeshError } from '../base/mesh-error.ts'
import type { Certificates, Connections, Fault, Status, Workloads } from './shapes.ts'
import { ADMIN_SOCKET, shortened } from './socket.ts'

const TIMEOUT_MS = 5_000
/** Larger answers than any agent gives. */
const ANSWER_BYTES_MAX = 64 * 1_048_576

export class AdminClient {
  readonly #state: string

  /** `state`: the agent's state directory. */
  constructor(state: string) {
    this.#state = state
  }

  status(): Promise<Status> {
    return this.#get('/v1/status') as Promise<Status>
  }

  workloads(asked: { readonly all?: boolean } = {}): Promise<Workloads> {
    return this.#get(`/v1/workloads${asked.all ? '?all' : ''}`) as Promise<Workloads>
  }

  connections(asked: { readonly live?: boolean } = {}): Promise<Connections> {
    return this.#get(`/v1/connections${asked.live ? '?live' : ''}`) as Promise<Connections>
  }

  certificates(): Promise<Certificates> {
    return this.#get('/v1/certificates') as Promise<Certificates>
  }

  /** Rejects with MeshError `admin.unreachable` when no agent answers, `admin.refused` when it
   * does not like the question. */
  async #get(path: string): Promise<unknown> {
    const { status, body } = await this.#ask(path)
    if (status === 200) return JSON.parse(body)
    const { error, remedy } = JSON.parse(body) as Fault
    throw new MeshError('admin.refused', `the agent says: ${error}: ${remedy}`)
  }

  #ask(path: string): Promise<{ readonly status: number; readonly body: string }> {
    const socketPath = join(this.#state, ADMIN_SOCKET)
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => reject(unreachable(this.#state, error))
      let short: ReturnType<typeof shortened>
      try {
        short = shortened(socketPath)
      } catch (error) {
        fail(error)
        return
      }
      const asked = request(
        { socketPath: short.path, path, timeout: TIMEOUT_MS, agent: false },
        (response) => {
          const parts: string[] = []
          let length = 0
          response.setEncoding('utf8').on('data', (part: string) => {
            length += part.length
            if (length > ANSWER_BYTES_MAX) asked.destroy(new Error('the answer is too long'))
            else parts.push(part)
          })
          response.on('error', fail)
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, body: parts.join('') }),
          )
        },
      )
      asked.on('timeout', () => asked.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)))
      asked.on('error', fail)
      asked.on('close', () => short.close())
      asked.end()
    })
  }
}

function unreachable(state: string, error: unknown): MeshError {
  const { code, message } = error as NodeJS.ErrnoException
  const where = `no agent answers in ${state}`
  switch (code) {
    case 'ENOENT':
    case 'ECONNREFUSED': {
      const remedy = 'start one with `weft up`, or name its state directory with --state'
      return new MeshError('admin.unreachable', `${where}: ${remedy}`, { cause: error })
    }
    case 'EACCES':
    case 'EPERM':
      return new MeshError('admin.unreachable', `only root may ask the agent in ${state}`, {
        cause: error,
      })
    default:
      return new MeshError('admin.unreachable', `${where}: ${message}`, { cause: error })
  }
}
