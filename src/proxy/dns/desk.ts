// Answers one workload's questions: from the tables, from what resolvers said before, or by asking
// the resolver that was asked.

import { pickWeighted } from '../../balancing/weighted.ts'
import { LIMITS } from '../../model/limits.ts'
import type { LocalPod } from '../../model/messages.ts'
import type { Tables, TableWorkload } from '../../model/tables.ts'
import { authorize } from '../../policy/authorize.ts'
import type { Address } from '../connection.ts'
import { isLoopback } from '../host-workloads.ts'
import { identityOf } from '../identity-of.ts'
import { addressTowards, type EndpointChoices } from '../outbound/endpoints.ts'
import { serviceAt } from '../outbound/route.ts'
import type { SecurityCache } from '../security-cache.ts'
import { AnswerCache } from './cache.ts'
import { type DecideParts, decide } from './decide.ts'
import { Forwarder, type ForwarderParts } from './forwarder.ts'
import type { Query } from './query.ts'
import { udpBytes, writeFailure } from './response.ts'
import { RCODE } from './wire.ts'

export interface DeskParts extends ForwarderParts, DecideParts {
  readonly choices: EndpointChoices
  readonly security: SecurityCache
}

/** Longer questions are not remembered. */
const READY_BYTES_MAX = 512

export class NameDesk {
  readonly #parts: DeskParts
  readonly #pod: LocalPod
  readonly #forwarder: Forwarder
  readonly #cache = new AnswerCache()
  /** Answers of ours under these tables, by everything of the question but its ID. */
  readonly #ready = new Map<string, Buffer>()
  #tables: Tables | undefined

  constructor(parts: DeskParts, pod: LocalPod) {
    this.#parts = parts
    this.#pod = pod
    this.#forwarder = new Forwarder(parts, pod.namespaceFd)
  }

  /** A question that came by UDP. `resolver` is looked up only when it is needed; undefined when
   * nobody knows whom the program asked. */
  ask(
    question: Buffer,
    resolver: () => Address | undefined,
    reply: (answer: Buffer) => void,
  ): void {
    const key = question.length <= READY_BYTES_MAX ? question.toString('latin1', 2) : ''
    const ready = this.#readyAnswer(question, key)
    if (ready !== undefined) {
      reply(ready)
      return
    }
    const decision = decide(question, udpBytes, this.#pod, this.#parts)
    if (decision.kind === 'forward') this.#forward(decision.query, key, resolver(), reply)
    if (decision.kind !== 'answer') return
    if (decision.lasting) this.#keepReady(key, decision.answer)
    reply(decision.answer)
  }

  stop(): void {
    this.#forwarder.stop()
    this.#ready.clear()
  }

  #readyAnswer(question: Buffer, key: string): Buffer | undefined {
    const tables = this.#parts.view.current
    if (tables !== this.#tables) {
      this.#tables = tables
      this.#ready.clear()
    }
    const ready = this.#ready.get(key)
    if (ready === undefined) return undefined
    this.#parts.meter.count('questions')
    this.#parts.meter.count('answered')
    return withIdOf(question, ready)
  }

  #keepReady(key: string, answer: Buffer): void {
    if (key === '') return
    if (this.#ready.size >= LIMITS.dnsReadyMax) this.#ready.clear()
    this.#ready.set(key, answer)
  }

  #forward(
    query: Query,
    key: string,
    resolver: Address | undefined,
    reply: (answer: Buffer) => void,
  ): void {
    const { meter, clock } = this.#parts
    if (resolver === undefined) {
      meter.count('unclaimed')
      return
    }
    const isKept = key !== '' && query.plain && query.standard
    const cacheKey = `${resolver.ip} ${resolver.port} ${key}`
    const id = query.bytes.readUInt16BE(0)
    const refused = (): void => reply(writeFailure(query, RCODE.servFail))
    const target = this.#reach(resolver)
    if (target === undefined) {
      meter.count('refused')
      refused()
      return
    }
    const cached = isKept ? this.#cache.get(cacheKey, id, clock.nowMs()) : undefined
    if (cached !== undefined && cached.length <= udpBytes(query)) {
      meter.count('cached')
      reply(cached)
      return
    }
    const answered = (answer: Buffer): void => {
      if (isKept) this.#cache.put(cacheKey, answer, clock.nowMs())
      reply(answer)
    }
    this.#forwarder.ask(target, { query, answered, refused })
  }

  /** Behind the virtual address of a service is one of its endpoints. Undefined: nobody, or one
   * that this workload may not call. */
  #reach(resolver: Address): Address | undefined {
    const { view, choices, random } = this.#parts
    const tables = view.current
    if (tables === undefined || isLoopback(resolver.ip)) return resolver
    const service = serviceAt(tables, resolver.ip)
    if (service === undefined || service.resolution === 'none') {
      const workload = tables.workloads.get(tables.workloadByIp.get(resolver.ip) ?? '')
      return this.#mayAsk(tables, workload, resolver) ? resolver : undefined
    }
    const endpoint = pickWeighted(choices.of(tables, service, resolver.port), random)
    if (endpoint === undefined) return undefined
    const ip = addressTowards(endpoint.workload, resolver.ip, this.#pod)
    if (ip === undefined) return undefined
    const target = { ip, port: endpoint.port }
    return this.#mayAsk(tables, endpoint.workload, target) ? target : undefined
  }

  /** As the kernel judges other datagrams: between workloads of this node, at L4. */
  #mayAsk(tables: Tables, workload: TableWorkload | undefined, { ip, port }: Address): boolean {
    const source = tables.workloads.get(this.#pod.uid)
    if (source === undefined || workload === undefined || workload.uid === source.uid) return true
    if (workload.node !== source.node) return true
    const sourceIp = this.#pod.addresses.find((own) => own.includes(':') === ip.includes(':'))
    const verdict = authorize(this.#parts.security.policiesOf(tables, workload, 'source'), {
      peer: { kind: 'verified', id: identityOf(source), by: 'kernel' },
      sourceIp: sourceIp ?? '',
      destinationIp: ip,
      destinationPort: port,
    })
    return verdict.kind !== 'deny'
  }
}

function withIdOf(question: Buffer, ready: Buffer): Buffer {
  const answer = Buffer.from(ready)
  question.copy(answer, 0, 0, 2)
  return answer
}
