// The admin API: HTTP over a Unix socket, read only. Few clients at a time, small answers from
// memory; what is asked wrongly is answered with what would be right.
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import type { AdminAnswers } from './answers.ts'
import { CERTIFICATES, CONNECTIONS, FAULT, STATUS, WORKLOADS } from './schemas.ts'
import type { Fault } from './shapes.ts'
import { claimSocket, type SocketPlace } from './socket.ts'

const CLIENTS_MAX = 32
/** A client that neither asks nor reads for so long is let go. */
const IDLE_MS = 10_000
const REQUEST_MS = 5_000
const BODY_BYTES_MAX = 1_024

const PATHS = ['/v1/status', '/v1/workloads', '/v1/connections', '/v1/certificates'] as const

/** Switches of each path; they take no value, or `true`. */
const SWITCHES: Readonly<Record<string, readonly string[]>> = {
  '/v1/workloads': ['all'],
  '/v1/connections': ['live', 'both-ends'],
}

export class AdminServer {
  readonly #answers: AdminAnswers
  readonly #log: Log
  readonly #path: string
  readonly #app: FastifyInstance
  #place: SocketPlace | undefined

  constructor(
    parts: { readonly answers: AdminAnswers; readonly log: Log },
    options: { readonly path: string },
  ) {
    this.#answers = parts.answers
    this.#log = parts.log
    this.#path = options.path
    this.#app = fastify({
      logger: false,
      connectionTimeout: IDLE_MS,
      keepAliveTimeout: IDLE_MS,
      requestTimeout: REQUEST_MS,
      bodyLimit: BODY_BYTES_MAX,
      forceCloseConnections: true,
    })
    this.#app.server.maxConnections = CLIENTS_MAX
    this.#routes()
  }

  /** Rejects with MeshError `admin.socket` when another agent answers there. */
  async start(): Promise<void> {
    this.#place = await claimSocket(this.#path)
    await this.#app.listen({ path: this.#place.draft })
    this.#place.publish()
  }

  async stop(): Promise<void> {
    this.#place?.remove()
    await this.#app.close()
  }

  #routes(): void {
    const answers = this.#answers
    this.#get('/v1/status', STATUS, () => answers.status())
    this.#get('/v1/certificates', CERTIFICATES, () => answers.certificates())
    this.#get('/v1/workloads', WORKLOADS, (on) => answers.workloads({ all: on('all') }))
    this.#get('/v1/connections', CONNECTIONS, (on) =>
      answers.connections({ live: on('live'), bothEnds: on('both-ends') }),
    )
    this.#app.setNotFoundHandler((request, reply) => this.#unknown(request, reply))
    this.#app.setErrorHandler((error, _request, reply) => this.#failed(error, reply))
  }

  #get(
    path: (typeof PATHS)[number],
    schema: object,
    answer: (on: (name: string) => boolean) => Promise<unknown>,
  ): void {
    const known = SWITCHES[path] ?? []
    const responses = { 200: schema, '4xx': FAULT, '5xx': FAULT }
    this.#app.get(path, { schema: { response: responses } }, async (request, reply) => {
      const query = request.query as Readonly<Record<string, string>>
      const wrong = Object.keys(query).find((name) => !known.includes(name))
      if (wrong !== undefined) {
        const remedy = known.length === 0 ? 'leave it out' : `one of: ${known.join(', ')}`
        return this.#fault(reply, 400, `${path} knows no parameter ${wrong}`, remedy)
      }
      return answer((name) => query[name] !== undefined && query[name] !== 'false')
    })
  }

  #unknown(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const [path = ''] = request.url.split('?')
    if ((PATHS as readonly string[]).includes(path)) {
      reply.header('allow', 'GET, HEAD')
      return this.#fault(reply, 405, `${path} can only be read`, 'use GET')
    }
    return this.#fault(reply, 404, 'there is nothing at this path', `one of: ${PATHS.join(', ')}`)
  }

  #failed(error: unknown, reply: FastifyReply): FastifyReply {
    const { statusCode = 500 } = error as { readonly statusCode?: number }
    if (statusCode < 500) {
      return this.#fault(reply, statusCode, errorText(error), 'send a GET without a body')
    }
    this.#log.warn('admin.failed', { error: errorText(error) })
    return this.#fault(reply, 500, errorText(error), "ask again; the agent's log says more")
  }

  #fault(reply: FastifyReply, status: number, error: string, remedy: string): FastifyReply {
    return reply.code(status).send({ error, remedy } satisfies Fault)
  }
}
